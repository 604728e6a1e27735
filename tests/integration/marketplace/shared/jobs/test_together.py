"""One process runs several jobs of a kind at a time, and each of them once."""

import itertools
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from marketplace.planning.models import WhatIf
from marketplace.shared.jobs import together
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import Run
from marketplace.shared.jobs.together import Together
from tests.integration.marketplace.shared.jobs.working import ask, kind_changes
from tests.integration.marketplace.shop import Shop
from tests.patience import PATIENCE_S


def test_jobs_run_side_by_side_and_one_that_comes_meanwhile_too(
    committed_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "LOOK_EVERY_S", 0.01)
    meet = threading.Barrier(3, timeout=PATIENCE_S)
    late: list[WhatIf] = []
    lock = threading.Lock()

    def work(run: Run) -> Mapping[str, Any]:
        with lock:
            if not late:
                late.append(ask(committed_shop))
        meet.wait()  # All three run at this moment, or this breaks.
        return {}

    kind = kind_changes(monkeypatch, work=work, at_once=3)
    ask(committed_shop)
    ask(committed_shop)
    Together(kind, 3).run()
    assert list(WhatIf.objects.values_list("state", "attempts")) == [(JobState.SUCCEEDED, 1)] * 3


def test_no_new_job_begins_once_the_time_to_take_them_is_over(
    committed_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(together, "message_send", sent.append)
    seconds = iter([0.0, together.TAKES_FOR_S - 1])
    ran: list[int] = []

    def work(run: Run) -> Mapping[str, Any]:
        ran.append(run.job.pk)
        return {}

    kind = kind_changes(monkeypatch, work=work)
    ask(committed_shop)
    ask(committed_shop)
    Together(kind, 1, clock=lambda: next(seconds, together.TAKES_FOR_S)).run()
    assert len(ran) == 1
    assert sent == [WhatIf], "another task goes on"


def test_it_ends_once_there_is_nothing_to_do(
    committed_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that looked for jobs once took each other's look for work, to the end of the time."""
    monkeypatch.setattr(together, "LOOK_EVERY_S", 0.01)
    sent: list[object] = []
    monkeypatch.setattr(together, "message_send", sent.append)
    looks = itertools.count()
    kind = kind_changes(monkeypatch, work=lambda run: {}, at_once=16)
    ask(committed_shop)
    Together(kind, 16, clock=lambda: float(next(looks))).run()
    assert WhatIf.objects.get().state == JobState.SUCCEEDED
    assert not sent, "no other task is to go on"


@pytest.mark.parametrize("told_after", [0, 1])
def test_a_process_that_was_told_to_stop_takes_no_more_and_has_another_go_on(
    committed_shop: Shop, monkeypatch: pytest.MonkeyPatch, told_after: int
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(together, "message_send", sent.append)
    ran: list[int] = []

    def work(run: Run) -> Mapping[str, Any]:
        ran.append(run.job.pk)
        return {}

    kind = kind_changes(monkeypatch, work=work)
    for _ in range(3):
        ask(committed_shop)
    Together(kind, 1, leaving=lambda: len(ran) >= told_after).run()
    states = WhatIf.objects.values_list("state", flat=True)
    assert sorted(states) == sorted(
        [JobState.SUCCEEDED] * told_after + [JobState.QUEUED] * (3 - told_after)
    )
    assert sent == [WhatIf]
