"""A fleet in the simulator: the real scheduler under virtual time, at the asked rate and mix.

Where all its instances are known as LLM engines they are simulated as such (:mod:`.engines`), else
all as machines with slots.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random

from msgspec import Struct

from marketplace.planning.advisor.fleets.engines import are_engines, engine_results
from marketplace.planning.advisor.fleets.option import Option
from marketplace.planning.advisor.fleets.program import Counts
from marketplace.planning.advisor.question import Question
from router.domain.catalog import Policy
from router.simulator.percentile import percentile
from router.simulator.slots.compare import WARM_UP_SHARE
from router.simulator.slots.machine import Machine
from router.simulator.slots.simulation import MODEL, Result, Setup, Simulation
from router.simulator.workload import Sizes, poisson

STAGES = (3_000, 12_000, 48_000)
"""Calls of a run. A run that cannot tell is repeated with the next number of them."""
FILLS = 20
"""A run lasts at least as long as it takes to fill the fleet this often,"""
CALLS_MAX = 60_000
"""but not longer."""
BATCHES = 20
"""Calls that follow one another are not independent: the error of their mean comes from the means
of so many parts (batch means, Law and Kelton)."""
Z = 1.96


class Verdict(StrEnum):
    """Whether the share of calls within the SLO is what was asked, with 95 % confidence."""

    MEETS = "meets"
    MISSES = "misses"
    BORDERLINE = "borderline"
    """The interval holds the asked share: neither is shown."""


class WorkerModel(StrEnum):
    """How instances are emulated."""

    ENGINES = "engines"
    SLOTS = "slots"


class Emulated(Struct, frozen=True):
    """Figures of one run. ``within`` is the share of calls within the SLO: value, low, high."""

    verdict: Verdict
    within: tuple[float, float, float]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    calls: int
    traffic: dict[str, float]
    """Share of the calls by option."""
    worker_model: WorkerModel = WorkerModel.SLOTS


def emulate(
    options: Sequence[Option],
    counts: Counts,
    question: Question,
    *,
    seed: int,
    stages: Sequence[int] = STAGES,
    in_time: Callable[[], bool] = lambda: True,
) -> Emulated:
    """Run a fleet at the peak rate until it is clear whether it meets the SLO, or time is over."""
    figures = None
    used = [option for option, n in zip(options, counts, strict=True) if n]
    filling = int(FILLS * question.peak_hz * max(option.service_ms for option in used) / 1e3)
    model = worker_model_of(used)
    results = engine_results if model is WorkerModel.ENGINES else slot_results
    for calls in sorted({min(max(stage, filling), CALLS_MAX) for stage in stages}):
        made = results(options, counts, question, seed=seed, calls=calls)
        figures = _judged(made, options, question, model)
        if figures.verdict is not Verdict.BORDERLINE or not in_time():
            break
    if figures is None:
        raise ValueError("no stage to run")
    return figures


def worker_model_of(used: Sequence[Option]) -> WorkerModel:
    """How a fleet of these options is emulated."""
    return WorkerModel.ENGINES if are_engines(used) else WorkerModel.SLOTS


def slot_results(
    options: Sequence[Option], counts: Counts, question: Question, *, seed: int, calls: int
) -> list[Result]:
    """So many calls at the peak rate, on machines with slots behind the real scheduler."""
    simulation = Simulation(Setup(machines_of(options, counts), policy=Policy(1, 1, MODEL)), seed)
    arrivals = poisson(question.peak_hz, Sizes(question.size_cv)).arrivals(Random(f"advice-{seed}"))
    return simulation.run(arrivals, calls)


def machines_of(options: Sequence[Option], counts: Counts) -> tuple[Machine, ...]:
    """One machine per instance; the router knows its true service time."""
    return tuple(
        Machine(
            f"{number}-{copy}",
            str(number),
            option.service_ms,
            option.slots,
            option.service_ms,
            option.batch_curve,
        )
        for number, (option, count) in enumerate(zip(options, counts, strict=True))
        for copy in range(count)
    )


def _judged(
    results: Sequence[Result], options: Sequence[Option], question: Question, model: WorkerModel
) -> Emulated:
    ordered = sorted(results, key=lambda result: result.at_s)
    counted = ordered[int(len(ordered) * WARM_UP_SHARE) :]
    good = [not r.error and r.latency_s * 1e3 <= question.slo_ms for r in counted]
    value, low, high = _interval(good)
    verdict = Verdict.BORDERLINE
    if low >= question.share:
        verdict = Verdict.MEETS
    elif high < question.share:
        verdict = Verdict.MISSES
    latencies = sorted(r.latency_s * 1e3 for r in counted if not r.error)
    traffic = Counter(r.machine.partition("-")[0] for r in counted if r.machine)
    return Emulated(
        verdict,
        (value, low, high),
        percentile(latencies, 0.50),
        percentile(latencies, 0.90),
        percentile(latencies, 0.99),
        len(counted),
        {options[int(n)].name: calls / len(counted) for n, calls in sorted(traffic.items())},
        model,
    )


def _interval(good: Sequence[bool]) -> tuple[float, float, float]:
    """Mean and its 95 % interval: the wider of batch means' and Wilson's (for rare misses)."""
    size = len(good) // BATCHES
    mean = sum(good) / len(good)
    means = [sum(good[n * size : (n + 1) * size]) / size for n in range(BATCHES)]
    spread = sum((value - mean) ** 2 for value in means) / (BATCHES - 1)
    error = Z * math.sqrt(spread / BATCHES)
    n = len(good)
    middle = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return mean, min(mean - error, middle - half), min(max(mean + error, middle + half), 1.0)
