"""Sessions, placers and our scheduler over simulated engines."""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import pytest
from msgspec.structs import replace

from router.scheduling.caches.affinity import BLOCK_BYTES
from router.simulator.engines import batching
from router.simulator.engines.compare import (
    PLACERS,
    EngineFigures,
    Options,
    compare_engines,
    figures_of,
)
from router.simulator.engines.kv_cache import BLOCK_TOKENS
from router.simulator.engines.placers import expected_remaining, least_outstanding, oracle
from router.simulator.engines.scenarios import (
    EVENT_TOKENS,
    MIXED,
    EngineScenario,
    capacity_hz,
    engine_scenarios,
    fleet,
)
from router.simulator.engines.scheduled import Scheduled
from router.simulator.engines.sessions import Lengths, Session, plan
from router.simulator.engines.simulation import (
    EngineResult,
    EngineSimulation,
    Placer,
    simulate_engines,
)
from router.simulator.trouble import Event, Trouble


def scenario(name: str = "e-sess50", seconds: float = 12.0) -> EngineScenario:
    return replace(engine_scenarios()[name], duration_s=seconds, warm_up_s=2.0)


def troubled(trouble: Trouble) -> EngineScenario:
    one = scenario()
    event = Event(trouble, 4.0, 8.0)
    engines = tuple(
        replace(spec, events=(event,)) if spec.name == "h100-0" else spec for spec in one.engines
    )
    return replace(one, engines=engines)


def sessions(name: str = "e-sess50") -> list[Session]:
    return plan(engine_scenarios()[name].load, 40.0, EVENT_TOKENS, 1)


def test_a_plan_is_its_seeds() -> None:
    load = engine_scenarios()["e-sess50"].load
    assert plan(load, 5.0, EVENT_TOKENS, 1) == plan(load, 5.0, EVENT_TOKENS, 1)
    assert plan(load, 5.0, EVENT_TOKENS, 1) != plan(load, 5.0, EVENT_TOKENS, 2)


def test_a_turn_begins_with_the_whole_conversation_before_it() -> None:
    for session in sessions():
        for turn, following in pairwise(session.turns):
            answered = turn.prompt_tokens + turn.answer_events * EVENT_TOKENS
            assert following.chain[: len(turn.chain)] == turn.chain
            assert following.chain[-1][1] == following.prompt_tokens // BLOCK_TOKENS
            assert following.prompt_tokens > answered
            if answered // BLOCK_TOKENS > turn.prompt_tokens // BLOCK_TOKENS:
                ends = dict(following.chain)
                assert ends[turn.answer_name] == answered // BLOCK_TOKENS


def test_sessions_share_system_prompts_and_nothing_else() -> None:
    made = sessions("e-shared")
    blocks = [session.prefix for session in made]
    shared = set(blocks[0]) & set().union(*blocks[1:])
    assert shared == {block for block in blocks[0] if block < 0}
    assert 1500 < len(shared) * BLOCK_BYTES / 4 < 5500
    assert len({session.turns[0].chain[0] for session in made}) == 6


def test_a_tenant_sends_the_same_whether_the_others_are_there_or_not() -> None:
    shared, alone = (engine_scenarios()[n].load for n in ("e-tenants120", "e-tenants-calm"))
    made = plan(shared, 20.0, EVENT_TOKENS, 1)
    calm = [session for session in made if session.tenant == 1]
    assert calm == plan(alone, 20.0, EVENT_TOKENS, 1)
    assert len(calm) / len(made) == pytest.approx(1 / 6, rel=0.15)


def test_as_many_turns_come_as_the_load_says() -> None:
    load = engine_scenarios()["e-mixed50"].load
    turns = sum(len(item.turns) for item in plan(load, 100.0, EVENT_TOKENS, 3))
    assert turns / 100.0 == pytest.approx(load.rate_hz, rel=0.1)


def test_rates_are_shares_of_capacity() -> None:
    rate = engine_scenarios()["e-mixed50"].load.rate_hz
    assert rate / capacity_hz(fleet(MIXED), 1961, 19.7, 0.0) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("placer", ["oracle", "ours", "least_outstanding", "round_robin"])
def test_every_request_ends_in_one_result_and_a_seed_repeats_it(placer: str) -> None:
    make = PLACERS[placer]
    results = simulate_engines(scenario(seconds=4.0), make(1), 1)
    assert results == simulate_engines(scenario(seconds=4.0), make(1), 1)
    assert len(results) > 100
    assert not [result for result in results if result.error]
    assert all(0 < result.ttft_s <= result.latency_s for result in results)


def test_a_turn_comes_when_the_one_before_it_has_ended_and_was_thought_about() -> None:
    one = scenario(seconds=20.0)
    (session,) = [s for s in sessions() if len(s.turns) == 8 and not s.first][:1]
    results = simulate_engines(one, oracle(), 1, [session])
    assert len(results) > 1
    for number, (result, following) in enumerate(pairwise(results)):
        ended_s = result.at_s + result.latency_s
        assert following.at_s == pytest.approx(ended_s + session.turns[number].think_s)
        assert following.cached_tokens > 0.8 * result.prompt_tokens


def test_a_placer_that_knows_everything_beats_a_count() -> None:
    def mean_ms(placer: Placer) -> float:
        return figures_of("", scenario(), simulate_engines(scenario(), placer, 1)).mean_ms

    assert mean_ms(oracle()) < 0.8 * mean_ms(least_outstanding())


@pytest.mark.parametrize("trouble", [Trouble.CRASH, Trouble.HANG])
@pytest.mark.parametrize("make", [least_outstanding, Scheduled])
def test_only_answers_that_had_begun_are_lost_with_their_engine(
    make: Callable[[], Placer], trouble: Trouble
) -> None:
    results = simulate_engines(troubled(trouble), make(), 1)
    errors = [result for result in results if result.error]
    assert errors
    assert {error.error for error in errors} == {"cut_short"}
    assert len(errors) < 0.1 * len(results)


def test_a_fleet_that_failed_for_a_moment_is_soon_at_work_again() -> None:
    """All that is under way on every engine fails at once, which says little of any of them."""
    hang = Event(Trouble.HANG, 8.0, 8.3)
    one = scenario("e-sess75", seconds=20.0)
    one = replace(one, engines=tuple(replace(spec, events=(hang,)) for spec in one.engines))

    def mean_ms(placer: Placer) -> float:
        return figures_of("", one, simulate_engines(one, placer, 1)).mean_ms

    assert mean_ms(Scheduled()) < 1.2 * mean_ms(oracle())


def test_a_caller_whose_patience_ends_leaves_nothing_behind() -> None:
    one = replace(scenario(seconds=4.0), client_timeout_s=1.0)
    placer = Scheduled()
    simulation = EngineSimulation(one, placer, 1)
    results = simulation.run()
    gone = [result for result in results if result.error == "timeout"]
    assert gone
    assert all(result.latency_s == pytest.approx(1.0) for result in gone)
    assert not any(worker.inflight for worker in placer.scheduler.fleet.workers.values())
    assert not any(engine.running or engine.waiting for engine in simulation.engines)


def test_figures_leave_the_warm_up_out_and_count_errors() -> None:
    one = scenario(seconds=10.0)
    counted = [
        EngineResult(3.0, 0.5, 2.5, 100, 50, 11, 0, engine=0),
        EngineResult(4.0, 2.0, 4.0, 100, 0, 11, 0, engine=1),
        EngineResult(5.0, 9.9, 40.0, 100, 0, 11, 0, error="timeout"),
    ]
    figures = figures_of("p", one, [EngineResult(1.0, 9.0, 9.0, 1, 1, 1, 0), *counted])
    assert (figures.requests, figures.errors) == (3, 1)
    assert (figures.mean_ms, figures.ttft_ms, figures.token_ms) == (3250, 1250, 200)
    assert (figures.good, figures.hit) == (pytest.approx(1 / 3), 0.25)
    assert figures.penalised_ms == pytest.approx((2500 + 4000 + 40_000) / 3)
    assert not figures.tenants


def test_figures_tell_tenants_apart_where_there_are_several() -> None:
    one = replace(scenario("e-tenants120", seconds=10.0), warm_up_s=0.0)
    made = [
        EngineResult(3.0, 0.5, 2.5, 100, 50, 11, 0, engine=0, tenant=0),
        EngineResult(4.0, 2.0, 4.0, 100, 0, 11, 0, engine=1, tenant=0),
        EngineResult(5.0, 0.2, 1.0, 100, 0, 11, 0, engine=1, tenant=1),
        EngineResult(5.0, 9.9, 40.0, 100, 0, 11, 0, error="timeout", tenant=1),
    ]
    tenants = figures_of("p", one, made).tenants
    assert [part.good for part in tenants.values()] == [0.5, 0.5]
    assert tenants[1].p99_ms == pytest.approx(1000)


@cache
def past_saturation(name: str, placer: str) -> EngineFigures:
    one = replace(scenario(name, seconds=20.0), warm_up_s=4.0)
    return figures_of(placer, one, simulate_engines(one, PLACERS[placer](3), 3))


@pytest.mark.nightly  # Minutes of simulated overload.
def test_past_saturation_most_are_answered_in_time_where_a_count_has_most_wait() -> None:
    ours, count = (past_saturation("e-mixed110", item) for item in ("ours", "least_outstanding"))
    assert ours.good > 0.65
    assert ours.good > 1.5 * count.good


def test_as_many_are_answered_in_time_past_saturation_as_before_it() -> None:
    before, past = (past_saturation(item, "ours") for item in ("e-mixed75", "e-mixed110"))
    assert past.good * past.requests > 0.95 * before.good * before.requests


def test_a_calm_tenant_is_answered_in_time_whatever_another_one_asks_for() -> None:
    ours = past_saturation("e-tenants120", "ours")
    calm, noisy = ours.tenants[1], ours.tenants[0]
    assert calm.good > 0.9
    assert 0.5 < noisy.good < calm.good


def test_comparisons_side_by_side_are_the_same_as_one_by_one() -> None:
    def without_us(jobs: int) -> list[object]:
        made = compare_engines(["e-same"], ["ours"], Options(2, duration_s=3.0), jobs)
        return [[replace(figure, us=0.0) for figure in figures] for _, figures in made]

    assert without_us(1) == without_us(2)


nightly = partial(pytest.param, marks=pytest.mark.nightly)


@cache
def penalised_ms(name: str, placer: str, seconds: float) -> float:
    """Every error counts as long as the caller's patience."""
    one = replace(engine_scenarios()[name], duration_s=seconds)
    return figures_of("", one, simulate_engines(one, PLACERS[placer](1), 1)).penalised_ms


@pytest.mark.parametrize(
    ("name", "placer", "most"),
    [
        ("e-mixed50", "ours-whole", 1.25),
        nightly("e-mixed50", "ours-whole-named", 1.1),
        nightly("e-sess50", "ours-whole", 1.25),
        nightly("e-mixed50", "ours-whole-one", 1.5),
        ("e-mixed50", "ours-half", 1.1),
        nightly("e-mixed50", "ours-one", 1.1),
        nightly("e-mixed50", "ours-knee", 1.1),
    ],
)
def test_whole_answers_and_wrong_slots_cost_little_on_engines(
    name: str, placer: str, most: float
) -> None:
    seconds = engine_scenarios()[name].duration_s
    assert penalised_ms(name, placer, seconds) < most * penalised_ms(name, "ours", seconds)


@pytest.mark.parametrize(
    ("name", "part", "least"),
    [
        nightly("e-mixed50", "others", 1.15),
        ("e-sess75", "others", 1.3),
        ("e-sess75", "prefixes", 1.3),
        nightly("e-mixed50", "sizes", 1.05),
        ("e-sess75", "sizes", 1.2),
    ],
)
def test_each_part_of_the_score_is_worth_its_place(name: str, part: str, least: float) -> None:
    assert penalised_ms(name, f"ours-less-{part}", 25.0) > least * penalised_ms(name, "ours", 25.0)


def test_an_oracle_that_does_not_know_lengths_expects_what_is_left_of_those_that_long() -> None:
    remaining = expected_remaining(Lengths(17, 0.6, 4, 60))
    sequence = batching.Sequence((), 100, 59, ())
    assert 18.5 < remaining(sequence, 0) < 20.5
    assert remaining(sequence, 3) == pytest.approx(remaining(sequence, 0) - 3)  # None is shorter.
    assert remaining(sequence, 30) > 8
    assert remaining(sequence, 59) == remaining(sequence, 500) == 1


def test_where_caches_are_small_it_pays_to_be_told_how_full_they_are() -> None:
    one = replace(engine_scenarios(load_factor=0.6)["e-long"], duration_s=30.0)
    engines = tuple(
        replace(spec, kv_tokens=max(round(0.4 * spec.kv_tokens), 14_000)) for spec in one.engines
    )
    tight = replace(one, engines=engines)

    def figures(name: str) -> EngineFigures:
        return figures_of(name, tight, simulate_engines(tight, PLACERS[name](3), 3))

    received, untold = figures("ours"), figures("ours-less-reports")
    assert received.ttft_ms < 0.95 * untold.ttft_ms
    assert received.penalised_ms < 1.01 * untold.penalised_ms
