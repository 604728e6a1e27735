"""What every kind of job promises, whatever happens to its message and its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from marketplace.planning.models import WhatIf
from marketplace.predictions.models import Prediction
from marketplace.providers.models import ConformanceRun
from marketplace.shared.jobs import services
from marketplace.shared.jobs.kinds import job_kinds, task_name
from marketplace.shared.jobs.models import Job, JobState
from marketplace.shared.jobs.services import Run, job_cancel, job_claim, jobs_sweep
from tests.examples import rest_nightly
from tests.integration.marketplace.shared.jobs.jobs_asked import ASKED
from tests.integration.marketplace.shared.jobs.working import (
    Messages,
    grow_old,
    run_next,
    this_database,
)
from tests.integration.marketplace.shop import Shop
from workers.celery_app import app

pytestmark = pytest.mark.usefixtures("home")


def kinds(*ordinary: type[Job]) -> pytest.MarkDecorator:
    """Over each kind's own work; where that takes seconds, of all but the ``ordinary`` nightly."""
    models = rest_nightly(job_kinds, ordinary or tuple(job_kinds))
    return pytest.mark.parametrize("model", models, ids=lambda model: model._meta.label)


def test_every_kind_is_in_this_suite_and_has_a_task() -> None:
    assert set(ASKED) == set(job_kinds)
    for model, kind in job_kinds.items():
        task = app.tasks[task_name(model)]
        assert kind.time_limit_s < task.time_limit or kind.command
        assert app.amqp.router.route({}, task.name)["queue"].name == model.queue


@kinds(ConformanceRun)
def test_a_job_whose_process_is_killed_runs_again_and_ends_once(
    model: type[Job], committed_shop: Shop
) -> None:
    with ASKED[model](committed_shop) as job:
        killed_amid(model)
        job.refresh_from_db()
        assert (job.state, job.attempts) == (JobState.RUNNING, 1)
        assert jobs_sweep() == 0, "its last heartbeat is not old yet"
        grow_old(job)
        assert jobs_sweep() == 1
        assert run_next(model) == job
        job.refresh_from_db()
        assert (job.state, job.error, job.attempts) == (JobState.SUCCEEDED, "", 2)
        assert (job.progress, job.asked_by) == (1.0, committed_shop.owner)
        assert job.ended_at is not None
        assert jobs_sweep() == 0
        assert run_next(model) is None
        assert model._default_manager.count() == 1


@kinds()
def test_a_job_that_loses_its_process_each_time_fails(model: type[Job], shop: Shop) -> None:
    with ASKED[model](shop) as job:
        for _ in range(job_kinds[model].attempts_max):
            assert job_claim(job_kinds[model]) == job
            grow_old(job)
            assert jobs_sweep() == 1
        job.refresh_from_db()
        assert (job.state, job.error) == (JobState.FAILED, services.LOST)
        assert run_next(model) is None


@kinds()
def test_a_job_that_waits_is_cancelled_at_once(model: type[Job], shop: Shop) -> None:
    with ASKED[model](shop) as job:
        job_cancel(job)
        assert job.state == JobState.CANCELLED
        assert run_next(model) is None


@kinds()
def test_a_job_that_runs_stops_when_it_is_cancelled(
    model: type[Job], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on = Run.progress

    def cancel(run: Run, share: float, **columns: Any) -> None:
        job_cancel(run.job)
        going_on(run, share, **columns)

    monkeypatch.setattr(Run, "progress", cancel)
    with ASKED[model](shop) as job:
        run_next(model)
        job.refresh_from_db()
        assert (job.state, job.attempts) == (JobState.CANCELLED, 1)
        assert job.progress < 1


@kinds(Prediction, WhatIf)
def test_a_message_that_is_lost_is_sent_by_the_sweep(
    model: type[Job], shop: Shop, messages: Messages
) -> None:
    with ASKED[model](shop):
        jobs_sweep()
        assert messages.taken() == [task_name(model)]
        jobs_sweep()
        run_next(model)
        messages.taken()
        jobs_sweep()
        assert messages.taken() == []


def killed_amid(model: type[Job]) -> None:
    """Have a process begin the next job, and kill it there."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.integration.marketplace.shared.jobs.job_process",
            model._meta.label,
        ],
        env={**os.environ, "DATABASE_URL": this_database()},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.kill()
    assert (said, process.returncode) == ("amid\n", -signal.SIGKILL)
