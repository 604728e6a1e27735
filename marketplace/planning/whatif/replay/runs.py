"""Runs of the same calls as arrays, their figures, and how sure a difference is. Pure."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from marketplace.benchmarks.recorded_calls.fleet import Fleet, Part
from marketplace.benchmarks.recorded_calls.sizes import RecordedCall
from router.domain.catalog import Policy
from router.domain.outcome import BILLED
from router.domain.pricing import charge_nano
from router.simulator.slots.compare import WARM_UP_SHARE
from router.simulator.slots.simulation import MODEL, Setup, Simulation
from router.simulator.workload import Arrival

Floats = NDArray[np.float64]

QUEUE_MAX = 2_000
QUEUE_WAIT_S = 30.0
"""The default bounds of a router's queue."""

STEPS = 60
"""Points of a chart over time."""

CURVE = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 97, 99)
BLOCKS = 20
RESAMPLES = 200
CONFIDENCE = 0.95
METRICS = ("mean_ms", "p50_ms", "p90_ms", "p99_ms", "good", "charge_nano_per_1000")
BETTER_HIGH = frozenset({"good"})


@dataclass(frozen=True, slots=True)
class Run:
    """By call, in order of arrival: ``latency_s`` is not a number where it was not answered."""

    at_s: Floats
    latency_s: Floats
    queue_s: Floats
    charge_nano: Floats
    pools: NDArray[np.str_]

    def counted(self) -> "Run":
        """Without the first tenth, in which queues fill."""
        skipped = int(len(self.at_s) * WARM_UP_SHARE)
        return self.taken(np.arange(skipped, len(self.at_s)))

    def taken(self, places: NDArray[np.int64]) -> "Run":
        """Some of the calls, which may come more than once."""
        return Run(
            self.at_s[places],
            self.latency_s[places],
            self.queue_s[places],
            self.charge_nano[places],
            self.pools[places],
        )


class PoolShare(Struct, frozen=True):
    """What a pool answered."""

    pool: str
    calls: int
    share: float
    mean_ms: float


class Side(Struct, frozen=True):
    """Figures of one run. ``good`` is the share of all calls that were answered within the SLO."""

    calls: int
    errors: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    queue_ms: float
    good: float
    charge_nano_per_1000: float
    charge_nano: int
    pools: tuple[PoolShare, ...]
    curve_ms: tuple[float, ...]
    """The latency at each percentile of :data:`CURVE`."""


class Difference(Struct, frozen=True):
    """``then`` less ``now`` of one metric, with a 95 % interval."""

    metric: str
    now: float
    then: float
    low: float
    high: float
    verdict: str
    """``better``, ``worse`` or, when the interval holds 0, ``unclear``."""


@dataclass(frozen=True, slots=True)
class Course:
    """What arrives where, and how it is placed."""

    arrivals: Sequence[Arrival]
    fleet: Fleet
    policy: Policy


class Simulated(NamedTuple):
    """How one simulated call went; ``part`` is None where it was not answered."""

    at_s: float
    queue_s: float
    latency_s: float = 0.0
    part: Part | None = None
    worked_s: float = 0.0
    """How long a worker had it."""


class Simulate(Protocol):
    """:func:`simulated`, or the same of engines."""

    def __call__(
        self,
        calls: Sequence[RecordedCall],
        arrivals: Sequence[Arrival],
        fleet: Fleet,
        policy: Policy,
        *,
        seed: int,
        tick: Callable[[int], None],
    ) -> Run: ...


def paired(
    calls: Sequence[RecordedCall],
    now: Course,
    then: Course,
    *,
    simulate: Simulate,
    seeds: Sequence[int],
    seconds_max: float,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Run], list[Run]]:
    """Both courses of the calls with each seed, as many pairs as end within ``seconds_max``.

    ``progress`` gets a share from 0 to 1, and may raise.
    """
    begun_s = time.monotonic()
    before: list[Run] = []
    after: list[Run] = []

    def tick(number: int) -> None:
        if time.monotonic() - begun_s > seconds_max:
            raise TimeoutError
        done = len(before) + len(after) + number / len(calls)
        progress(done / (2 * len(seeds)))

    try:
        for seed in seeds:
            for course, runs in ((now, before), (then, after)):
                runs.append(
                    simulate(
                        calls, course.arrivals, course.fleet, course.policy, seed=seed, tick=tick
                    )
                )
    except TimeoutError:
        before = before[: len(after)]
    return before, after


def simulated(
    calls: Sequence[RecordedCall],
    arrivals: Sequence[Arrival],
    fleet: Fleet,
    policy: Policy,
    *,
    seed: int,
    tick: Callable[[int], None] = lambda _: None,
) -> Run:
    """The calls on a fleet. ``tick`` gets how many have arrived, and may raise."""
    parts = {machine.name: part for part in fleet.parts for machine in part.machines()}
    setup = Setup(
        fleet.machines,
        policy=msgspec.structs.replace(policy, model=MODEL, shared=False),
        queue_max=QUEUE_MAX,
        queue_wait_s=QUEUE_WAIT_S,
    )
    sizes = {arrival.at_s: arrival.size for arrival in arrivals}
    return run_of(
        calls,
        arrivals,
        (
            Simulated(result.at_s, result.queue_s)
            if result.error
            else Simulated(
                result.at_s,
                result.queue_s,
                result.latency_s,
                parts[result.machine],
                sizes[result.at_s] * parts[result.machine].service_ms / 1e3,
            )
            for result in Simulation(setup, seed).run(_ticking(arrivals, tick), len(arrivals))
        ),
    )


def run_of(
    calls: Sequence[RecordedCall], arrivals: Sequence[Arrival], results: Iterable[Simulated]
) -> Run:
    """The results in order of arrival, each call charged at the price of the part that answers."""
    places = {arrival.at_s: place for place, arrival in enumerate(arrivals)}
    latency_s, queue_s, charge = (np.full(len(calls), np.nan) for _ in range(3))
    pools = [""] * len(calls)
    for result in results:
        place, part = places[result.at_s], result.part
        queue_s[place], charge[place] = result.queue_s, 0.0
        if part is None:
            continue
        usage = calls[place].usage
        if part.price.second_nano:
            usage = msgspec.structs.replace(usage, hardware_ms=round(result.worked_s * 1e3))
        latency_s[place], pools[place] = result.latency_s, part.pool
        charge[place] = charge_nano(part.price, usage)
    return Run(_times(arrivals), latency_s, queue_s, charge, np.array(pools))


def recorded(calls: Sequence[RecordedCall], arrivals: Sequence[Arrival]) -> Run:
    """The calls as they really went."""
    answered = [call.outcome in BILLED for call in calls]
    return Run(
        _times(arrivals),
        np.array([c.total_s if ok else np.nan for c, ok in zip(calls, answered, strict=True)]),
        np.array([c.queue_s if ok else c.total_s for c, ok in zip(calls, answered, strict=True)]),
        np.array([float(call.charge_nano) for call in calls]),
        np.array([c.pool if ok else "" for c, ok in zip(calls, answered, strict=True)]),
    )


def side_of(run: Run, slo_ms: float) -> Side:
    """Figures over the counted calls; every latency 0 where none was answered."""
    run = run.counted()
    answered = run.latency_s[~np.isnan(run.latency_s)] * 1e3
    shown = answered if len(answered) else np.zeros(1)
    p50, p90, p95, p99 = (float(v) for v in np.percentile(shown, (50, 90, 95, 99)))
    counts = Counter(str(pool) for pool in run.pools if pool)
    return Side(
        calls=len(run.at_s),
        errors=len(run.at_s) - len(answered),
        mean_ms=float(shown.mean()),
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        queue_ms=float(run.queue_s.mean() * 1e3) if len(run.at_s) else 0.0,
        good=metric_of(run, "good", slo_ms),
        charge_nano_per_1000=metric_of(run, "charge_nano_per_1000", slo_ms),
        charge_nano=int(run.charge_nano.sum()),
        pools=tuple(
            PoolShare(
                pool,
                count,
                count / max(len(answered), 1),
                float(np.nanmean(run.latency_s[run.pools == pool]) * 1e3),
            )
            for pool, count in sorted(counts.items())
        ),
        curve_ms=tuple(float(value) for value in np.percentile(shown, CURVE)),
    )


def metric_of(run: Run, metric: str, slo_ms: float) -> float:
    """One of :data:`METRICS` over all of a run's calls."""
    if metric == "charge_nano_per_1000":
        return float(run.charge_nano.mean() * 1e3) if len(run.at_s) else 0.0
    if metric == "good":
        return float((run.latency_s * 1e3 <= slo_ms).sum() / max(len(run.at_s), 1))
    answered = run.latency_s[~np.isnan(run.latency_s)] * 1e3
    if not len(answered):
        return 0.0
    if metric == "mean_ms":
        return float(answered.mean())
    return float(np.percentile(answered, float(metric.removeprefix("p").removesuffix("_ms"))))


def differences(now: Sequence[Run], then: Sequence[Run], slo_ms: float) -> tuple[Difference, ...]:
    """What changes between runs of the same calls, ``now[i]`` and ``then[i]`` with one seed.

    Intervals by the paired bootstrap over seeds and over blocks of neighbouring calls (Künsch
    1989): calls that queue together are not independent, so they are drawn together.
    """
    before, after = [run.counted() for run in now], [run.counted() for run in then]
    rng = np.random.default_rng(1)
    drawn: dict[str, list[float]] = {metric: [] for metric in METRICS}
    blocks = np.array_split(np.arange(len(before[0].at_s)), BLOCKS)
    for _ in range(RESAMPLES):
        seed = int(rng.integers(len(before)))
        chosen = np.concatenate([blocks[k] for k in rng.integers(BLOCKS, size=BLOCKS)])
        old, new = before[seed].taken(chosen), after[seed].taken(chosen)
        for metric in METRICS:
            drawn[metric].append(metric_of(new, metric, slo_ms) - metric_of(old, metric, slo_ms))
    return tuple(_difference(metric, before, after, slo_ms, drawn[metric]) for metric in METRICS)


def series_of(run: Run, slo_ms: float, steps: int = STEPS) -> dict[str, list[float | None]]:
    """Over ``steps`` equal parts, from the first arrival to the last.

    ``good`` and ``p99`` are those of the calls that arrived in each, None where none did, and
    ``waiting`` is how many were waiting in the router at its end.
    """
    first_s, last_s = (float(run.at_s[0]), float(run.at_s[-1])) if len(run.at_s) else (0.0, 0.0)
    edges = np.linspace(first_s, last_s, steps + 1)
    placed = np.clip(np.searchsorted(edges, run.at_s, side="right") - 1, 0, steps - 1)
    arrived, left = np.sort(run.at_s), np.sort(run.at_s + run.queue_s)
    good: list[float | None] = []
    p99: list[float | None] = []
    for step in range(steps):
        latency_ms = run.latency_s[placed == step] * 1e3
        answered = latency_ms[~np.isnan(latency_ms)]
        good.append(float((latency_ms <= slo_ms).mean()) if len(latency_ms) else None)
        p99.append(float(np.percentile(answered, 99)) if len(answered) else None)
    waiting = [
        float(np.searchsorted(arrived, at, "right") - np.searchsorted(left, at, "right"))
        for at in edges[1:]
    ]
    return {"at": list(map(float, edges[1:])), "good": good, "p99": p99, "waiting": [*waiting]}


def _difference(
    metric: str, before: Sequence[Run], after: Sequence[Run], slo_ms: float, drawn: Sequence[float]
) -> Difference:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.percentile(drawn, (tail, 100 - tail)))
    now, then = (
        float(np.mean([metric_of(run, metric, slo_ms) for run in runs])) for runs in (before, after)
    )
    verdict = "unclear"
    if low > 0 or high < 0:
        verdict = "better" if (low > 0) == (metric in BETTER_HIGH) else "worse"
    return Difference(metric, now, then, low, high, verdict)


def _times(arrivals: Sequence[Arrival]) -> Floats:
    return np.array([arrival.at_s for arrival in arrivals])


def _ticking(arrivals: Sequence[Arrival], tick: Callable[[int], None]) -> Iterator[Arrival]:
    for number, arrival in enumerate(arrivals):
        if not number % 64:
            tick(number)
        yield arrival
