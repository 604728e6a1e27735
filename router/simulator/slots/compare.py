"""Runs one scenario under several policies, side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from random import Random

from msgspec import Struct

from router.domain.catalog import Policy
from router.simulator.percentile import percentile
from router.simulator.slots.reference import preemptive
from router.simulator.slots.scenarios import Scenario
from router.simulator.slots.simulation import MODEL, Answers, Result, Setup, Simulation
from router.simulator.workload import Arrival, merged

REFERENCE = "reference"
WARM_UP_SHARE = 0.1
"""The figures leave out this first part of a run (not in ``coldstart``)."""


class Figures(Struct, frozen=True):
    """The figures of one run. Latencies in milliseconds; shares from 0 to 1."""

    policy: str
    answered: int
    errors: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    good: float
    cost_usd_per_1000: float
    hedges: int = 0
    probes: int = 0


def compare(
    scenario: Scenario,
    policies: Sequence[Policy | None],
    count: int,
    seed: int,
    *,
    recorded: Sequence[Arrival] | None = None,
    routers: int = 1,
    shared: bool = False,
    owner_dies_s: float = inf,
    answers: Answers | None = None,
    done: Callable[[Figures], None] = lambda _: None,
) -> list[Figures]:
    """The same arrivals under each policy; None stands for the preemptive reference."""
    figures: list[Figures] = []
    for policy in policies:
        arrivals = recorded if recorded is not None else _arrivals(scenario, seed)
        setup = Setup(
            scenario.machines,
            policy=policy or Policy(1, 1, MODEL),
            routers=routers,
            shared=shared,
            owner_dies_s=owner_dies_s,
            answers=answers,
        )
        made = _run(scenario, setup, arrivals, count, seed, is_reference=policy is None)
        done(made)
        figures.append(made)
    return figures


def _arrivals(scenario: Scenario, seed: int) -> Iterator[Arrival]:
    return merged(scenario.streams, Random(f"arrivals-{seed}"))


def _run(
    scenario: Scenario,
    setup: Setup,
    arrivals: Iterable[Arrival],
    count: int,
    seed: int,
    *,
    is_reference: bool,
) -> Figures:
    if is_reference:
        results = preemptive(scenario.machines, arrivals, count, setup.network_ms)
        return figures_of(REFERENCE, results, scenario)
    simulation = Simulation(setup, seed)
    results = simulation.run(arrivals, count)
    return figures_of(
        setup.policy.kind, results, scenario, hedges=simulation.hedges, probes=simulation.probes
    )


def figures_of(
    policy: str,
    results: Sequence[Result],
    scenario: Scenario,
    *,
    hedges: int = 0,
    probes: int = 0,
) -> Figures:
    """Percentiles over the answered requests that arrived after the warm-up."""
    by_arrival = sorted(results, key=lambda result: result.at_s)
    skipped = 0 if scenario.name == "coldstart" else int(len(results) * WARM_UP_SHARE)
    counted = by_arrival[skipped:]
    latencies = sorted(result.latency_s * 1e3 for result in counted if not result.error)
    good = sum(latency <= scenario.slo_ms for latency in latencies)
    return Figures(
        policy=policy,
        answered=len(latencies),
        errors=len(counted) - len(latencies),
        mean_ms=sum(latencies) / max(len(latencies), 1),
        p50_ms=percentile(latencies, 0.50),
        p90_ms=percentile(latencies, 0.90),
        p99_ms=percentile(latencies, 0.99),
        good=good / max(len(counted), 1),
        cost_usd_per_1000=sum(result.cost_nano for result in counted) / max(len(counted), 1) / 1e6,
        hedges=hedges,
        probes=probes,
    )
