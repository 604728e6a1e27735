"""Queued benchmarks become processes of their own, and those that died are put on record.

A benchmark may take an hour: it is no task of Celery's, whose tasks end after two minutes, but a
``manage.py benchmark execute ID`` that a task starts and that lives on without it.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from marketplace.benchmarks.locks import pools_free
from marketplace.benchmarks.models import Benchmark
from marketplace.benchmarks.selectors import pools_of
from marketplace.benchmarks.turns import runs_measuring
from marketplace.shared.jobs.models import JobState

PROCESSES_MAX = 8
"""Most benchmarks that have a process, the waiting ones too."""
LOOKED_AT_MAX = 50
START_PATIENCE = timedelta(minutes=2)
"""How long a process may take until its row says that it runs. Where the machine is so busy that it
takes longer than the next look, a second one would make it busier still."""


def benchmarks_start() -> list[int]:
    """Start what is queued on pools that are free; returns the ids, oldest first.

    No more measure at once than ``WAYPOST_BENCHMARKS_AT_ONCE`` (see
    :mod:`marketplace.benchmarks.turns`); one that waits for idle slots does not hold up the others.
    """
    now = timezone.now()
    queued = Benchmark.objects.filter(state=JobState.QUEUED).order_by("pk")
    begun = queued.filter(started_at__gt=now - START_PATIENCE).count()
    running = Benchmark.objects.filter(state=JobState.RUNNING).count()
    room = min(
        settings.WAYPOST_BENCHMARKS_AT_ONCE - runs_measuring().count() - begun,
        PROCESSES_MAX - running - begun,
    )
    queued = queued.exclude(started_at__gt=now - START_PATIENCE)
    started: list[int] = []
    taken: set[int] = set()
    for benchmark in queued.select_related("deployment")[:LOOKED_AT_MAX]:
        if len(started) >= room:
            break
        pools = set(pools_of(benchmark))
        if not pools & taken and pools_free(sorted(pools)):
            taken |= pools
            started.append(benchmark.pk)
            queued.filter(pk=benchmark.pk).update(started_at=now)
            _start(benchmark.pk)
    return started


def benchmarks_bury() -> list[int]:
    """Mark those as failed that run by their row, but whose pools nobody holds; returns the ids."""
    buried = []
    running = Benchmark.objects.filter(state=JobState.RUNNING).select_related("deployment")
    for benchmark in running.order_by("pk"):
        if not pools_free(pools_of(benchmark)):
            continue
        # Read again: it may have ended between the look at its row and at its lock.
        buried += [benchmark.pk] * Benchmark.objects.filter(
            pk=benchmark.pk, state=JobState.RUNNING
        ).update(
            state=JobState.FAILED,
            ended_at=timezone.now(),
            stage="",
            error="its process ended before it was done",
        )
    return buried


def _start(pk: int) -> None:
    logs = Path(settings.WAYPOST_HOME) / "benchmarks"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{pk}.log").open("ab") as log:
        # A session of its own: what ends the job process does not end a measurement.
        subprocess.Popen(  # noqa: S603 # our own command
            [
                sys.executable,
                str(settings.BASE_DIR / "manage.py"),
                "benchmark",
                "execute",
                str(pk),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=settings.BASE_DIR,
        )
