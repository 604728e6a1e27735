"""Which job begins next, and where."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark
from marketplace.planning.models import WhatIf
from marketplace.shared.jobs import services
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import (
    BEGIN_WITHIN,
    job_claim,
    job_run,
    job_run_next,
    jobs_sweep,
)
from tests.embedded import wait_until
from tests.integration.marketplace.shared.jobs.jobs_asked import ASKED
from tests.integration.marketplace.shared.jobs.working import ask, kind_changes, this_database
from tests.integration.marketplace.shop import Shop
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.usefixtures("home")


def test_a_job_may_have_a_process_of_its_own(
    committed_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", this_database())
    with ASKED[Benchmark](committed_shop) as job:
        assert job_run_next(Benchmark) == job
        wait_until(
            lambda: type(job)._default_manager.get(pk=job.pk).is_over, PATIENCE_S, "it did not end"
        )
        job.refresh_from_db()
        assert (job.state, job.error, job.attempts) == (JobState.SUCCEEDED, "", 1)


def test_a_process_begins_for_each_job_that_may_run_now(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    monkeypatch.setattr(services, "process_start", lambda kind, job: begun.append(job))
    kind_changes(monkeypatch, command=("any",), at_once=2)
    asked = [ask(shop) for _ in range(3)]
    assert job_run_next(WhatIf) == asked[0]
    assert begun == asked[:2]


def test_a_claimed_job_is_begun_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    kind = replace(job_kinds[WhatIf], work=lambda run: begun.append(run) or {})
    ask(shop)
    job = job_claim(kind)
    job_run(kind, WhatIf.objects.get(pk=job.pk))
    job_run(kind, job)
    assert len(begun) == 1


def test_a_claimed_job_that_no_process_begins_is_queued_again(shop: Shop) -> None:
    ask(shop)
    job = job_claim(job_kinds[WhatIf])
    assert jobs_sweep() == 0
    WhatIf.objects.update(started_at=timezone.now() - BEGIN_WITHIN - timedelta(seconds=1))
    assert jobs_sweep() == 1
    job.refresh_from_db()
    assert job.state == JobState.QUEUED


def test_one_job_is_claimed_by_its_id(shop: Shop) -> None:
    first, second = ask(shop), ask(shop)
    assert job_claim(job_kinds[WhatIf], second.pk) == second
    assert job_claim(replace(job_kinds[WhatIf], at_once=2), second.pk) is None
    first.refresh_from_db()
    assert first.state == JobState.QUEUED


def test_no_more_of_a_kind_run_than_may_at_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        ask(shop)
    kind = job_kinds[WhatIf]
    assert job_claim(kind) is not None
    assert job_claim(kind) is None
    assert job_claim(replace(kind, at_once=2)) is not None
    assert job_claim(replace(kind, at_once=2)) is None


def test_jobs_begin_in_the_order_of_their_kind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    kind_changes(monkeypatch, work=lambda run: {}, turn=("-created_at", "pk"))
    first, second = ask(shop), ask(shop)
    assert [job_run_next(WhatIf), job_run_next(WhatIf)] == [second, first]
