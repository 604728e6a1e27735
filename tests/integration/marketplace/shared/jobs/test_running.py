"""What becomes of a job once it has begun."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace.planning.models import WhatIf
from marketplace.shared.jobs import services
from marketplace.shared.jobs.kinds import job_kinds, task_name
from marketplace.shared.jobs.models import Job, JobState
from marketplace.shared.jobs.services import (
    JobFailed,
    JobStopped,
    JobYields,
    Run,
    job_claim,
    job_run,
    job_run_next,
    jobs_sweep,
)
from tests.integration.marketplace.shared.jobs.working import Messages, ask, grow_old, kind_changes
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("home")


def test_work_that_is_interrupted_at_a_terminal_is_cancelled(shop: Shop) -> None:
    def work(run: Run) -> Mapping[str, Any]:
        raise KeyboardInterrupt

    kind = replace(job_kinds[WhatIf], work=work)
    job = ask(shop)
    with pytest.raises(KeyboardInterrupt):
        job_run(kind, job_claim(kind))
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_a_process_that_was_taken_for_dead_changes_nothing(shop: Shop) -> None:
    job = ask(shop)
    slow = Run(job_kinds[WhatIf], job_claim(job_kinds[WhatIf]))
    grow_old(job)
    jobs_sweep()
    assert slow.is_stopped()
    assert job_claim(job_kinds[WhatIf]) == job
    with pytest.raises(JobStopped):
        slow.progress(0.9)
    assert not slow.own.update(state=JobState.SUCCEEDED)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.progress) == (JobState.RUNNING, 2, 0.0)


def test_a_job_that_yields_waits_again_and_has_used_no_attempt(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, messages: Messages
) -> None:
    turns = []

    def work(run: Run) -> Mapping[str, Any]:
        turns.append(run.job.attempts)
        if len(turns) < 3:
            raise JobYields
        return {}

    kind_changes(monkeypatch, work=work, attempts_max=1)
    job = ask(shop)
    for _ in range(2):
        assert job_run_next(WhatIf).state == JobState.QUEUED
        assert messages.taken() == [task_name(WhatIf)]
    assert job_run_next(WhatIf) == job
    job.refresh_from_db()
    assert (job.state, job.attempts, turns) == (JobState.SUCCEEDED, 1, [1, 1, 1])


def test_progress_never_goes_back(shop: Shop) -> None:
    job = ask(shop)
    clock = iter(range(0, 1_000, 1))
    kind = job_kinds[WhatIf]
    run = Run(kind, job_claim(kind), clock=lambda: float(next(clock)))
    kept = []
    for share in (0.2, 0.1, 0.5, 0.4, 1.7):
        run.progress(share)
        job.refresh_from_db()
        kept.append(job.progress)
    assert kept == [0.2, 0.2, 0.5, 0.5, 1.0]


def test_a_job_that_takes_too_long_ends(shop: Shop) -> None:
    ask(shop)
    kind = job_kinds[WhatIf]
    seconds = iter((0.0, 1.0, kind.time_limit_s + 1))
    run = Run(kind, job_claim(kind), clock=lambda: next(seconds))
    run.progress(0.5)
    with pytest.raises(JobFailed, match="longer than"):
        run.progress(0.6)


def test_a_job_says_when_it_ends(shop: Shop) -> None:
    job = ask(shop)
    now = timezone.now()
    assert job.ends_at(now) is None
    job.state, job.started_at = JobState.RUNNING, now - timedelta(seconds=30)
    assert job.ends_at(now) is None
    job.progress = 0.25
    assert job.ends_at(now) == now + timedelta(seconds=90)
    assert job.seconds_left is not None
    assert job.seconds_left >= 90
    job.state = JobState.CANCELLED
    assert job.seconds_left is None


@pytest.mark.parametrize(
    ("error", "said"), [(JobFailed("no calls"), "no calls"), (KeyError("x"), services.UNEXPECTED)]
)
def test_work_that_fails_says_so_and_is_not_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def work(run: Run) -> Mapping[str, Any]:
        raise error

    kind_changes(monkeypatch, work=work)
    job = ask(shop)
    job_run_next(WhatIf)
    job.refresh_from_db()
    assert (job.state, job.error, job.attempts) == (JobState.FAILED, said, 1)
    assert job_run_next(WhatIf) is None


def test_a_job_whose_consequences_cannot_be_drawn_fails(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []

    def over(job: Job) -> None:
        states.append(job.state)
        if job.state == JobState.SUCCEEDED:
            raise ValueError

    kind_changes(monkeypatch, work=lambda run: {}, over=over)
    job = ask(shop)
    job_run_next(WhatIf)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert states == [JobState.SUCCEEDED, JobState.FAILED]


def test_a_lost_job_that_cannot_be_ended_does_not_stop_the_sweep(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, messages: Messages
) -> None:
    def over(job: Job) -> None:
        raise ValueError

    kind_changes(monkeypatch, over=over, attempts_max=1, at_once=2)
    ask(shop)
    ask(shop)
    grow_old(job_claim(job_kinds[WhatIf]))
    assert jobs_sweep() == 0
    assert messages.taken() == [task_name(WhatIf)]


def test_a_job_that_runs_has_a_heartbeat(
    committed_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BEAT_EVERY_S", 0.01)
    beats = []

    def work(run: Run) -> Mapping[str, Any]:
        until = time.monotonic() + 60
        while len(set(beats)) < 3 and time.monotonic() < until:
            beats.append(WhatIf.objects.get(pk=run.job.pk).heartbeat_at)
        return {}

    kind_changes(monkeypatch, work=work)
    ask(committed_shop)
    job_run_next(WhatIf)
    assert len(set(beats)) == 3
    assert beats == sorted(beats)
