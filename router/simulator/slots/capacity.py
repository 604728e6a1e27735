"""What a region carries, by its workers and routers.

A region is workers of four unlike classes and routers in front of them. Routers place in one of two
ways: the model has an owner to which the others forward, or it is shared, and each router places
over the slots that it has leased. Regions share no worker, so that ten of them carry ten times as
much; what they share is in docs/explanation/capacity.md.
"""

import time
from collections.abc import Iterator
from math import inf

from msgspec import Struct

from router.domain.catalog import Policy
from router.simulator.slots.compare import Figures, compare
from router.simulator.slots.scenarios import STUDY_MS, Scenario, capacity_hz, fleet
from router.simulator.slots.simulation import MODEL
from router.simulator.workload import DEFAULT_SIZES, Phase, Stream

CAPACITY_HEAD = (
    f"{'workers':>7s} {'routers':>7s} {'placing':>8s} {'calls/s':>8s} {'p50 ms':>7s} "
    f"{'p99 ms':>7s} {'good':>7s} {'errors':>6s} {'us/call':>8s}"
)


class Layout(Struct, frozen=True):
    """A region. ``shared`` says that each router places over leased slots."""

    workers: int
    routers: int
    shared: bool


class Carried(Struct, frozen=True):
    """What a layout did at a load. ``us_a_call`` is CPU time of the simulation, engines too."""

    layout: Layout
    calls_hz: float
    figures: Figures
    us_a_call: float


def carried(layout: Layout, load: float, calls: int, seed: int) -> Carried:
    """Run ``calls`` at a share of the fleet's capacity."""
    base = sum(count for _, count in STUDY_MS)
    times = layout.workers / base
    machines = fleet([(ms, max(1, round(count * times))) for ms, count in STUDY_MS])
    rate_hz = load * capacity_hz(machines)
    stream = Stream((Phase(inf, rate_hz),), DEFAULT_SIZES)
    scenario = Scenario("region", "", machines, (stream,))
    begun_s = time.process_time()
    (figures,) = compare(
        scenario,
        [Policy(1, 1, MODEL)],
        calls,
        seed,
        routers=layout.routers,
        shared=layout.shared,
    )
    us_a_call = (time.process_time() - begun_s) / calls * 1e6
    return Carried(layout, rate_hz, figures, us_a_call)


def layouts(workers: int, routers: int, regions: int) -> Iterator[Layout]:
    """All as one flat region, then one of ``regions``, by owner and shared."""
    for parts in dict.fromkeys((1, regions)):
        for shared in (False, True):
            yield Layout(workers // parts, routers // parts, shared)


def capacity_line(result: Carried) -> str:
    """A row of the table."""
    layout, figures = result.layout, result.figures
    placing = "shared" if layout.shared else "by owner"
    return (
        f"{layout.workers:7d} {layout.routers:7d} {placing:>8s} {result.calls_hz:8,.0f} "
        f"{figures.p50_ms:7.0f} {figures.p99_ms:7.0f} {figures.good:7.2%} {figures.errors:6d} "
        f"{result.us_a_call:8.0f}"
    )
