"""What every kind of job promises, whatever happens to its message and its process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from kombu import Connection

from marketplace.benchmarks.models import Benchmark
from marketplace.planning.models import WhatIf
from marketplace.predictions.models import Prediction
from marketplace.providers.models import ConformanceRun
from marketplace.shared.jobs import services
from marketplace.shared.jobs.brokers import queues
from marketplace.shared.jobs.kinds import job_kinds, task_name
from marketplace.shared.jobs.models import Job, JobState
from marketplace.shared.jobs.services import (
    BEGIN_WITHIN,
    LOST_AFTER,
    JobFailed,
    JobStopped,
    JobYields,
    Run,
    job_ask,
    job_cancel,
    job_claim,
    job_run,
    job_run_next,
    jobs_sweep,
)
from tests.databases import as_services, named
from tests.embedded import wait_until
from tests.examples import rest_nightly
from tests.integration.marketplace.shared.jobs.jobs_asked import ASKED
from tests.integration.marketplace.shop import Shop
from tests.patience import PATIENCE_S
from workers.celery_app import app


def kinds(*ordinary: type[Job]) -> pytest.MarkDecorator:
    """Over each kind's own work; where that takes seconds, of all but the ``ordinary`` nightly."""
    models = rest_nightly(job_kinds, ordinary or tuple(job_kinds))
    return pytest.mark.parametrize("model", models, ids=lambda model: model._meta.label)


@pytest.fixture(autouse=True)
def home(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("WAYPOST_HOME", tmp_path), ("ROUTER_ADMIN_TOKEN", "")):
        setattr(settings, name, value)
        monkeypatch.setenv(name, str(value))  # Also for the processes that a test begins.


def test_every_kind_is_in_this_suite_and_has_a_task() -> None:
    assert set(ASKED) == set(job_kinds)
    for model, kind in job_kinds.items():
        task = app.tasks[task_name(model)]
        assert kind.time_limit_s < task.time_limit or kind.command
        assert app.amqp.router.route({}, task.name)["queue"].name == model.queue


# --- every kind, over its own work ----------------------------------------------------------------


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


# --- what is common to all, over any work ---------------------------------------------------------


def test_a_committed_job_is_announced_and_a_rolled_back_one_is_not(
    committed_shop: Shop, messages: Messages
) -> None:
    with transaction.atomic():
        ask(committed_shop)
        transaction.set_rollback(True)
    assert messages.taken() == []
    with transaction.atomic():
        ask(committed_shop)
        assert messages.taken() == []
    assert messages.taken() == [task_name(WhatIf)]


def test_a_job_is_taken_though_the_broker_is_away(committed_shop: Shop, settings: Any) -> None:
    # Port 9 (discard) refuses at once.
    settings.BROKER_URL = "redis://127.0.0.1:9"
    assert ask(committed_shop).state == JobState.QUEUED


def test_a_broker_that_fails_is_not_tried_twice_while_somebody_waits(
    committed_shop: Shop, settings: Any
) -> None:
    met: list[object] = []

    def hang_up() -> None:
        with suppress(OSError):  # The test is over.
            while True:
                met.append(broker.accept()[0].close())

    with socket.create_server(("127.0.0.1", 0)) as broker:
        thread = threading.Thread(target=hang_up)
        thread.start()
        settings.BROKER_URL = f"redis://127.0.0.1:{broker.getsockname()[1]}"
        assert ask(committed_shop).state == JobState.QUEUED
        broker.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(met) == 1


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


def test_work_that_is_interrupted_at_a_terminal_is_cancelled(shop: Shop) -> None:
    def work(run: Run) -> Mapping[str, Any]:
        raise KeyboardInterrupt

    kind = replace(job_kinds[WhatIf], work=work)
    job = ask(shop)
    with pytest.raises(KeyboardInterrupt):
        job_run(kind, job_claim(kind))
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_one_job_is_claimed_by_its_id(shop: Shop) -> None:
    first, second = ask(shop), ask(shop)
    assert job_claim(job_kinds[WhatIf], second.pk) == second
    assert job_claim(replace(job_kinds[WhatIf], at_once=2), second.pk) is None
    first.refresh_from_db()
    assert first.state == JobState.QUEUED


def test_jobs_run_in_turn_and_each_tells_of_the_next(shop: Shop, messages: Messages) -> None:
    first, second = ask(shop), ask(shop)
    assert job_run_next(WhatIf) == first
    assert messages.taken() == [task_name(WhatIf)]
    assert job_run_next(WhatIf) == second
    assert messages.taken() == []


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


def test_jobs_begin_in_the_order_of_their_kind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    kind_changes(monkeypatch, work=lambda run: {}, turn=("-created_at", "pk"))
    first, second = ask(shop), ask(shop)
    assert [job_run_next(WhatIf), job_run_next(WhatIf)] == [second, first]


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


# --- helpers --------------------------------------------------------------------------------------


class Messages:
    """What was sent to the job processes since the last look."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url

    def taken(self) -> list[str]:
        found: list[str] = []
        for queue in queues():
            with Connection(self._broker_url) as broker, broker.SimpleQueue(queue) as waiting:
                found += self._taken(waiting)
        return found

    def _taken(self, waiting: Any) -> Iterator[str]:
        with suppress(Empty):
            while True:
                message = waiting.get(block=False)
                message.ack()
                yield message.headers["task"]


@pytest.fixture
def messages(settings: Any, broker_url: str) -> Iterator[Messages]:
    settings.BROKER_URL = broker_url
    found = Messages(broker_url)
    found.taken()
    yield found
    found.taken()


def run_next(model: type[Job]) -> Job | None:
    """Claim and run a job here, also of a kind that has its own processes."""
    job: Job | None = job_claim(job_kinds[model])
    if job is not None:
        job_run(job_kinds[model], job)
    return job


def this_database() -> str:
    return as_services(named(os.environ["DATABASE_URL"], connection.settings_dict["NAME"]))


def ask(shop: Shop) -> WhatIf:
    job = WhatIf(model=shop.model, question={}, asked_by=shop.owner)
    job_ask(job)
    return job


def kind_changes(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setitem(job_kinds, WhatIf, replace(job_kinds[WhatIf], **changes))


def grow_old(job: Job) -> None:
    """As if the last heartbeat were as long ago as makes it lost."""
    type(job)._default_manager.filter(pk=job.pk).update(
        heartbeat_at=timezone.now() - LOST_AFTER - timedelta(seconds=1)
    )


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
