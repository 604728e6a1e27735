"""Whose turn it is to measure, and where in the queue one stands.

No more measure at once than ``WAYPOST_BENCHMARKS_AT_ONCE``: on one machine they would measure each
other. A run that only waits for idle slots measures nothing, and holds nobody up.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from marketplace.benchmarks.locks import LOCK_SPACE, pools_free
from marketplace.benchmarks.models import Benchmark, Stage
from marketplace.benchmarks.plan import plan_of
from marketplace.benchmarks.selectors import pools_of
from marketplace.shared.jobs.models import JobState

TURN = 0
"""The key of the lock under which turns are taken; pools are above zero."""
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Place:
    """``ahead`` go first; ``minutes`` is what their plans ask for at least, rounded up."""

    ahead: int
    minutes: int


def runs_measuring() -> QuerySet[Benchmark]:
    """Those that run by their rows, but for those that wait for slots or for their turn."""
    waits = Q()
    for stage in (Stage.WAITING, Stage.RESERVED, Stage.TURN):
        waits |= Q(stage__startswith=stage.value)
    return Benchmark.objects.filter(state=JobState.RUNNING).exclude(waits)


@transaction.atomic
def turn_take(benchmark: Benchmark, load: float) -> bool:
    """Begin to measure, where not too many others do; who is refused asks again."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_SPACE, TURN])
    if not turn_is_free(benchmark):
        return False
    Benchmark.objects.filter(pk=benchmark.pk).update(stage=Stage.WARMING.at(load))
    return True


def turn_is_free(benchmark: Benchmark) -> bool:
    """Whether it could begin to measure now."""
    others = runs_measuring().exclude(pk=benchmark.pk).select_related("deployment")
    # One whose pools nobody holds has died: its row is cleared up by a job, which may not run here.
    alive = sum(not pools_free(pools_of(one)) for one in others)
    return bool(alive < settings.WAYPOST_BENCHMARKS_AT_ONCE)


def place_of(benchmark: Benchmark) -> Place | None:
    """Where a queued benchmark stands; None for any other."""
    if benchmark.state != JobState.QUEUED:
        return None
    queued = Benchmark.objects.filter(state=JobState.QUEUED, pk__lt=benchmark.pk)
    before = [*runs_measuring().select_related("model"), *queued.select_related("model")]
    at_once: int = settings.WAYPOST_BENCHMARKS_AT_ONCE
    seconds = sum(_seconds_left(one) for one in before) / at_once
    return Place(len(before), int(-(-seconds // SECONDS_PER_MINUTE)))


def _seconds_left(benchmark: Benchmark) -> float:
    words = {name: value for name, value in benchmark.settings.items() if name != "task"}
    plan = plan_of(benchmark.model.task, words)
    return len(plan.loads) * plan.seconds_min * (1 - benchmark.progress)
