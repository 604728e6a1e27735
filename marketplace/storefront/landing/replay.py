"""The same arrivals placed by round robin and as here, in the simulator. Pure."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from math import isnan
from random import Random
from statistics import fmean

from msgspec import Struct

from router.domain.catalog import Policy
from router.simulator.percentile import percentile
from router.simulator.slots.compare import WARM_UP_SHARE
from router.simulator.slots.scenarios import scenarios
from router.simulator.slots.simulation import MODEL, Setup, Simulation
from router.simulator.workload import merged

ROUND_ROBIN = "round_robin"
TRACE_LOAD = 0.15
"""The share of the fleet's capacity. Above a fifth, round robin fills the slowest machines."""
TRACE_CALLS = 3_000
TRACE_SEED = 1
STEPS = 48
"""Points of the chart."""


class Source(StrEnum):
    RECORDED = "recorded"
    """Calls of this installation, on its fleet."""
    TRACE = "trace"
    """A built-in trace on a built-in fleet."""


class Line(Struct, frozen=True):
    """Latencies of one run in ms; ``means_ms`` over :data:`STEPS` equal parts of its time."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    means_ms: tuple[float, ...]


class Replay(Struct, frozen=True):
    """Both runs. Of a trace ``model`` is "", and the times are None."""

    source: Source
    calls: int
    machines: int
    emulated: bool
    round_robin: Line
    ours: Line
    model: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def gain(self) -> float:
        """By which share our mean latency is lower; negative if it is higher."""
        return 1 - self.ours.mean_ms / self.round_robin.mean_ms


def line_of(at_s: Sequence[float], latency_s: Sequence[float]) -> Line:
    """Figures of a run by order of arrival, without its warm-up and without failed calls (NaN).

    A step in which nothing arrived has the mean of the step before. Raises ``ValueError`` if no
    call was answered.
    """
    skipped = int(len(at_s) * WARM_UP_SHARE)
    answered = [
        (at, 1e3 * latency)
        for at, latency in zip(at_s[skipped:], latency_s[skipped:], strict=True)
        if not isnan(latency)
    ]
    if not answered:
        raise ValueError("no call was answered")
    first, last = answered[0][0], answered[-1][0]
    parts: list[list[float]] = [[] for _ in range(STEPS)]
    for at, latency_ms in answered:
        place = int(STEPS * (at - first) / (last - first)) if last > first else 0
        parts[min(place, STEPS - 1)].append(latency_ms)
    means: list[float] = []
    for part in parts:
        means.append(fmean(part) if part else means[-1])
    ordered = sorted(latency_ms for _at, latency_ms in answered)
    return Line(fmean(ordered), percentile(ordered, 0.5), percentile(ordered, 0.95), tuple(means))


def trace_replayed() -> Replay:
    """The built-in trace on its fleet: the same for everybody."""
    scenario = scenarios(TRACE_LOAD)["study"]

    def run(kind: str) -> Line:
        policy = Policy(1, 1, MODEL, kind=kind)
        arrivals = merged(scenario.streams, Random(f"arrivals-{TRACE_SEED}"))
        results = Simulation(Setup(scenario.machines, policy=policy), TRACE_SEED).run(
            arrivals, TRACE_CALLS
        )
        ordered = sorted(results, key=lambda result: result.at_s)
        return line_of(
            [result.at_s for result in ordered],
            [float("nan") if result.error else result.latency_s for result in ordered],
        )

    return Replay(
        source=Source.TRACE,
        calls=TRACE_CALLS,
        machines=len(scenario.machines),
        emulated=False,
        round_robin=run(ROUND_ROBIN),
        ours=run(Policy(1, 1, MODEL).kind),
    )
