"""A slot of a worker that routers keep free for a benchmark that found no idle one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf

from django.conf import settings

from marketplace.benchmarks.loadgen.plan import Plan
from marketplace.benchmarks.models import Benchmark, Target
from marketplace.catalog.models import Worker
from marketplace.catalog.reservations import reservation_held
from marketplace.routing.services import snapshot_publish

RESERVED_S_MAX = 180.0
"""A reserved slot is given back after so long, however far the run is."""


def reserve_after_s() -> float:
    """How long a run waits for an idle slot before one is reserved; ``inf``: none ever is."""
    return float(settings.WAYPOST_BENCHMARK_RESERVE_AFTER_S) or inf


def reservable(
    benchmark: Benchmark, plan: Plan, load: float, workers: Sequence[Worker]
) -> Worker | None:
    """The worker whose slot may be reserved: for one request at a time, never its only slot."""
    if benchmark.target == Target.ROUTE or plan.scenario == "server" or load != 1:
        return None
    return max(
        (worker for worker in workers if worker.slots > 1),
        key=lambda worker: worker.slots,
        default=None,
    )


@contextmanager
def slot_reserved(worker: Worker) -> Iterator[bool]:
    """Have routers keep a slot of this worker free; False where another run has one."""
    with reservation_held(worker.pk) as is_held:
        if is_held:
            snapshot_publish()
        yield is_held
    if is_held:
        snapshot_publish()
