"""Promise 10 in virtual time: a tenant far beyond its share costs calm ones a quarter at most.

Whatever priority either asks for.
"""

from math import inf
from random import Random

import pytest

from router.domain.request import Priority
from router.simulator.percentile import percentile
from router.simulator.slots.machine import Machine
from router.simulator.slots.simulation import Result, Setup, Simulation
from router.simulator.workload import Phase, Sizes, Stream, merged

WORKERS, SLOTS, SERVICE_S = 3, 24, 0.6
CALM = (Priority.STANDARD, Priority.BATCH, Priority.INTERACTIVE, Priority.STANDARD)
"""What each of the calm ones asks for; the noisy one asks for the most."""
NOISY = 9
SHARE_HZ = WORKERS * SLOTS / SERVICE_S / (len(CALM) + 1)
SIZES = Sizes(cv=0.3)
OVER_S, WARM_S = 60.0, 10.0
SLOWER_MAX = 1.25


def calm_calls(*, beside_noise: bool) -> list[Result]:
    """Each calm tenant at half of its share, and one more tenant at ten shares."""

    def stream(tenant: int, shares: float, priority: Priority) -> Stream:
        return Stream((Phase(inf, shares * SHARE_HZ),), SIZES, tenant=tenant, priority=priority)

    streams = [stream(tenant, 0.5, priority) for tenant, priority in enumerate(CALM)]
    if beside_noise:
        streams.append(stream(NOISY, 10, Priority.INTERACTIVE))
    machines = tuple(
        Machine(f"w{n}", "a", SERVICE_S * 1e3, SLOTS, SERVICE_S * 1e3) for n in range(WORKERS)
    )
    # As in the test of processes: full within a second of noise.
    simulation = Simulation(Setup(machines, queue_max=100), 1)
    count = int(OVER_S * sum(item.phases[0].rate_hz for item in streams))
    found = simulation.run(merged(streams, Random(1)), count)
    return [result for result in found if result.tenant != NOISY and result.at_s > WARM_S]


def p99_s(calls: list[Result], *priorities: Priority) -> float:
    return percentile(sorted(call.latency_s for call in calls if call.priority in priorities), 0.99)


@pytest.mark.nightly  # Ten seconds; promise 10 has its processes in every run.
def test_a_noisy_tenant_takes_nothing_from_calm_ones_by_the_priority_it_asks_for() -> None:
    alone, beside = calm_calls(beside_noise=False), calm_calls(beside_noise=True)
    assert {item.error for item in beside} == {""}, "nothing of the calm ones is shed"
    for priorities in (set(CALM), {Priority.STANDARD}, {Priority.BATCH}):
        assert p99_s(beside, *priorities) <= SLOWER_MAX * p99_s(alone, *priorities), priorities
