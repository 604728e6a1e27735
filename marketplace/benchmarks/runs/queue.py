"""Which benchmark runs next, which may measure now, and where in the queue one stands.

One benchmark runs on a pool at a time. No more measure at once than ``WAYPOST_BENCHMARKS_AT_ONCE``:
on one machine they would measure each other. A run that only waits for idle slots measures nothing,
and holds up nobody on other pools.
"""

from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q, QuerySet

from marketplace.benchmarks.models import Benchmark, Stage
from marketplace.benchmarks.selectors import pools_of
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import claims_held, jobs_running

RUNS_MAX = 8
"""Most benchmarks that run at once, the waiting ones too: each is a process."""
CHOSEN_FROM_MAX = 50
"""Of so many that wait longest the next one is chosen."""
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Place:
    """``ahead`` go first; ``minutes`` is what their plans ask for at least, rounded up."""

    ahead: int
    minutes: int


def next_to_run(queued: QuerySet[Benchmark]) -> Benchmark | None:
    """The oldest on free pools, unless as many measure as may."""
    is_full = runs_measuring().count() >= settings.WAYPOST_BENCHMARKS_AT_ONCE
    return None if is_full else next_on_free_pools(queued)


def next_on_free_pools(queued: QuerySet[Benchmark]) -> Benchmark | None:
    """The oldest on whose pools no other benchmark runs."""
    running = jobs_running(Benchmark).select_related("deployment")
    busy = {pool for benchmark in running for pool in pools_of(benchmark)}
    oldest = queued.select_related("model", "deployment", "worker")[:CHOSEN_FROM_MAX]
    return next((row for row in oldest if busy.isdisjoint(pools_of(row))), None)


def runs_measuring() -> QuerySet[Benchmark]:
    """Those that run, but for those that wait for slots or for their turn."""
    waits = Q()
    for stage in (Stage.WAITING, Stage.RESERVED, Stage.TURN):
        waits |= Q(stage__startswith=stage.value)
    return jobs_running(Benchmark).exclude(waits)


def turn_take(benchmark: Benchmark, load: float) -> bool:
    """Begin to measure, unless as many as may do so already; then the run asks again later."""
    with claims_held(Benchmark):
        if not turn_is_free(benchmark):
            return False
        Benchmark.objects.filter(pk=benchmark.pk).update(stage=Stage.WARMING.at(load))
        return True


def turn_is_free(benchmark: Benchmark) -> bool:
    """Whether it could begin to measure now."""
    others = runs_measuring().exclude(pk=benchmark.pk).count()
    return bool(others < settings.WAYPOST_BENCHMARKS_AT_ONCE)


def place_of(benchmark: Benchmark) -> Place | None:
    """Where a queued benchmark stands; None for any other."""
    if benchmark.state != JobState.QUEUED:
        return None
    queued = Benchmark.objects.filter(state=JobState.QUEUED, pk__lt=benchmark.pk)
    before = [*runs_measuring().select_related("model"), *queued.select_related("model")]
    at_once: int = settings.WAYPOST_BENCHMARKS_AT_ONCE
    seconds = sum(_seconds_left(row) for row in before) / at_once
    return Place(len(before), int(-(-seconds // SECONDS_PER_MINUTE)))


def _seconds_left(benchmark: Benchmark) -> float:
    plan = benchmark.plan
    return len(plan.loads) * plan.seconds_min * (1 - benchmark.progress)
