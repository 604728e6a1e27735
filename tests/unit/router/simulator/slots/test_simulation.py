"""The simulator: exact where theory is, the same for a seed, and nothing lost in it."""

import math
from pathlib import Path
from random import Random

import pytest

from router.domain.catalog import Policy
from router.domain.request import Priority, Sort
from router.scheduling.policies import POLICIES
from router.simulator.slots.compare import compare
from router.simulator.slots.machine import Machine
from router.simulator.slots.reference import preemptive
from router.simulator.slots.scenarios import (
    Scenario,
    capacity_hz,
    fleet,
    scenarios,
)
from router.simulator.slots.simulation import MODEL, ROUTER_DIED, Answers, Result, Setup, Simulation
from router.simulator.workload import Phase, Sizes, Stream, merged, poisson, recorded
from tests.queueing import erlang_c_wait_s

COUNT = 3_000


def calls_and_nightly(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("calls", [few, pytest.param(many, marks=pytest.mark.nightly)])


def run(setup: Setup, load: float = 0.7, count: int = COUNT, seed: int = 1) -> list[Result]:
    arrivals = poisson(load * capacity_hz(setup.machines)).arrivals(Random(seed))
    return Simulation(setup, seed).run(arrivals, count)


def mean_ms(results: list[Result]) -> float:
    return 1e3 * sum(result.latency_s for result in results) / len(results)


class Exponential(Sizes, frozen=True):
    """What Erlang's formula is about."""

    def draw(self, rng: Random) -> tuple[float, float]:
        return rng.expovariate(1.0), 0.0


@pytest.mark.parametrize(
    ("servers", "load", "calls"),
    [
        (4, 0.7, 8_000),
        *(
            pytest.param(*item, 60_000, marks=pytest.mark.nightly)
            for item in ((1, 0.5), (4, 0.7), (10, 0.8))
        ),
    ],
)
def test_a_single_machine_waits_as_long_as_erlang_says(
    servers: int, load: float, calls: int
) -> None:
    service_s = 0.1
    rate_hz = load * servers / service_s
    machine = Machine("m", "M", service_s * 1e3, servers, prior_ms=service_s * 1e3)
    setup = Setup((machine,), network_ms=0.0, policy=Policy(1, 1, MODEL, hedge_share=0.0))
    arrivals = Stream((Phase(math.inf, rate_hz),), Exponential()).arrivals(Random(3))
    results = Simulation(setup, 3).run(arrivals, calls)[calls // 10 :]
    expected_s = erlang_c_wait_s(rate_hz, service_s, servers) + service_s
    assert mean_ms(results) / 1e3 == pytest.approx(expected_s, rel=0.06)


def test_erlangs_formula_is_right_where_it_is_known() -> None:
    assert erlang_c_wait_s(5.0, 0.1, 1) == pytest.approx(0.1)  # M/M/1 at half load: ρ/(1−ρ)·S
    with pytest.raises(ValueError, match="more than"):
        erlang_c_wait_s(20.0, 0.1, 2)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_says_it_all_and_nothing_is_lost(policy: str) -> None:
    setup = Setup(fleet(), policy=Policy(1, 1, MODEL, kind=policy))
    once, again = run(setup, 0.5, count=1_000), run(setup, 0.5, count=1_000)
    assert once == again
    assert run(setup, 0.5, count=1_000, seed=2) != once
    assert len(once) == 1_000
    assert not [result for result in once if result.error]


@calls_and_nightly(2_500, 6_000)
def test_late_binding_comes_near_the_reference_and_beats_the_baselines(calls: int) -> None:
    made = scenarios(0.7)["study"]
    names = ("late_binding", "least_outstanding", "peak_ewma", "c3", "round_robin")
    policies = [None, *(Policy(1, 1, MODEL, kind=name) for name in names)]
    reference, ours, *others = compare(made, policies, calls, 1)
    assert ours.mean_ms < 1.15 * reference.mean_ms
    assert ours.p99_ms < 1.2 * reference.p99_ms
    assert all(ours.mean_ms < 0.8 * other.mean_ms for other in others)
    assert all(ours.p99_ms < 0.6 * other.p99_ms for other in others)


def test_nobody_beats_the_reference() -> None:
    machines = fleet()
    arrivals = poisson(0.85 * capacity_hz(machines))
    reference = preemptive(machines, arrivals.arrivals(Random(1)), COUNT, 1.0)
    ours = Simulation(Setup(machines), 1).run(arrivals.arrivals(Random(1)), COUNT)
    assert mean_ms(reference) < mean_ms(ours)


@calls_and_nightly(3_000, 8_000)
def test_knowing_sizes_helps_the_tail(calls: int) -> None:
    def p99(error: float | None) -> float:
        made = scenarios(0.85, Sizes(1.0, error))["study"]
        (figures,) = compare(made, [Policy(1, 1, MODEL)], calls, 1)
        return figures.p99_ms

    assert p99(0.2) < 0.85 * p99(None)


@pytest.mark.parametrize("name", sorted(scenarios(0.5)))
def test_every_scenario_answers_everyone(name: str) -> None:
    made = scenarios(0.5)[name]
    (figures,) = compare(made, [Policy(1, 1, MODEL)], COUNT, 1)
    assert figures.errors == 0
    assert figures.good > 0.9


def test_a_hung_worker_costs_its_requests_little() -> None:
    made = scenarios(0.5)["failure"]
    slowest = max(
        Simulation(Setup(made.machines), 1).run(merged(made.streams, Random(1)), 8_000),
        key=lambda result: result.latency_s,
    )
    assert not slowest.error
    assert slowest.latency_s < 3.0


@calls_and_nightly(COUNT, 8_000)
def test_one_tenants_bursts_are_that_tenants_wait(calls: int) -> None:
    made = scenarios(0.8)["tenants"]
    results = Simulation(Setup(made.machines), 1).run(merged(made.streams, Random(1)), calls)
    by_tenant = {t: [r for r in results if r.tenant == t] for t in (1, 2, 3, 4, 9)}
    calm = max(mean_ms(by_tenant[tenant]) for tenant in (1, 2, 3, 4))
    assert calm < 0.5 * mean_ms(by_tenant[9])


@calls_and_nightly(4_000, 8_000)
def test_a_calm_tenant_is_next_while_a_noisy_one_asks_for_twice_what_there_is(calls: int) -> None:
    machines = tuple(Machine(f"a{n}", "a", 600.0, slots=24, prior_ms=600.0) for n in range(3))
    alike, rate_hz = Sizes(cv=0.3, error=None), capacity_hz(machines)
    calm = [Stream((Phase(math.inf, 0.1 * rate_hz),), alike, tenant=n) for n in range(4)]
    noise = (Phase(10.0, 0.001), Phase(10.0, 2 * rate_hz))
    noisy = Stream(noise, alike, tenant=9, priority=Priority.INTERACTIVE)
    made = Simulation(Setup(machines, queue_max=100), 1)
    results = [r for r in made.run(merged((*calm, noisy), Random(1)), calls) if r.tenant != 9]
    assert not any(result.error for result in results)
    waits_s = [result.queue_s for result in results if result.at_s % 20 > 11]
    # A slot comes free every 8 ms, for five tenants in turn.
    assert sum(waits_s) / len(waits_s) < 0.05


@calls_and_nightly(COUNT, 8_000)
def test_interactive_requests_are_served_before_batch_under_load(calls: int) -> None:
    made = scenarios(1.1)["priorities"]
    results = Simulation(Setup(made.machines), 1).run(merged(made.streams, Random(1)), calls)

    def of(priority: str) -> float:
        return mean_ms([r for r in results if r.priority == priority])

    assert of("interactive") < of("standard") < of("batch")


def test_the_cheapest_hardware_serves_those_who_sort_by_price() -> None:
    cheap = mean_cost(Setup(fleet(), sort=Sort.PRICE))
    assert cheap < 0.5 * mean_cost(Setup(fleet()))


def mean_cost(setup: Setup) -> float:
    results = run(setup, 0.05, count=500)
    return sum(result.cost_nano for result in results) / len(results)


def test_a_hop_to_the_owner_costs_a_hop() -> None:
    alone = mean_ms(run(Setup(fleet())))
    three = mean_ms(run(Setup(fleet(), routers=3)))
    assert three - alone == pytest.approx(2 / 3, abs=1.0)


def test_leased_slots_keep_a_shared_model_stable() -> None:
    alone = mean_ms(run(Setup(fleet()), 0.85))
    assert mean_ms(run(Setup(fleet(), routers=3, shared=True), 0.85)) < 1.3 * alone


@pytest.mark.parametrize("shared", [False, True])
def test_the_death_of_an_owner_costs_what_it_had_and_a_pause(shared: bool) -> None:
    setup = Setup(fleet(), routers=2, shared=shared, owner_dies_s=2.0)
    results = run(setup, 0.5, count=6_000)
    lost = [result for result in results if result.error]
    assert {result.error for result in lost} <= {ROUTER_DIED}
    assert 0 < len(lost) < 60
    late = [r for r in results if r.at_s > 12.0 and not r.error]
    assert mean_ms(late) < 100.0


def test_recorded_arrivals_are_played_back(tmp_path: Path) -> None:
    file = tmp_path / "day.jsonl"
    file.write_text('{"at_s": 0.0, "size": 1.0}\n\n{"at_s": 0.5, "size": 2.0, "tenant": 3}\n')
    arrivals = recorded(file)
    assert [a.at_s for a in arrivals] == [0.0, 0.5]
    results = Simulation(Setup(fleet()), 1).run(arrivals, 10)
    assert sorted(result.tenant for result in results) == [0, 3]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "1"),
        ('{"at_s": 1}', "size"),
        ('{"at_s": 1, "size": 0}', "positive"),
        ('{"at_s": 1, "size": 1}\n{"at_s": 0, "size": 1}', "goes back"),
        ("", "no arrivals"),
    ],
)
def test_a_recording_that_makes_no_sense_is_refused_by_line(
    tmp_path: Path, line: str, why: str
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(line)
    with pytest.raises(ValueError, match=why):
        recorded(file)


def test_bursts_come_as_often_as_their_phases_say() -> None:
    stream = Stream((Phase(9.0, 10.0), Phase(1.0, 110.0)), random_phases=True)
    arrivals = stream.arrivals(Random(1))
    last = 0.0
    for _ in range(20_000):
        last = next(arrivals).at_s
    assert 20_000 / last == pytest.approx(20.0, rel=0.15)


def test_a_scenario_says_what_it_is() -> None:
    for name, made in scenarios(0.5).items():
        assert isinstance(made, Scenario)
        assert made.name == name
        assert made.about


@pytest.mark.parametrize("answers", Answers)
@pytest.mark.parametrize(
    ("name", "load"), [("study", 0.85), ("straggler", 0.6), ("batching", 0.7), ("burst", 0.6)]
)
def test_slots_that_answer_generations_are_still_slots(
    name: str, load: float, answers: Answers
) -> None:
    policies = [Policy(1, 1, MODEL)]
    scenario = scenarios(load)[name]
    (plain,) = compare(scenario, policies, COUNT, 1)
    (whole,) = compare(scenario, policies, COUNT, 1, answers=answers)
    assert whole.mean_ms == pytest.approx(plain.mean_ms, rel=0.02)
    assert whole.p99_ms == pytest.approx(plain.p99_ms, rel=0.05)
