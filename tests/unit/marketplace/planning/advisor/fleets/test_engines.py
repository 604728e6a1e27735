"""Advice about LLM engines: a batch slows its calls, and the KV cache bounds it."""

import math
from dataclasses import replace
from random import Random

import msgspec
import pytest

from marketplace.benchmarks.profiles.engine_figures import EngineFigures, Sum
from marketplace.planning.advisor.answer import Answer, answer, undominated
from marketplace.planning.advisor.fleets.emulation import Verdict, WorkerModel, emulate
from marketplace.planning.advisor.fleets.engines import as_engine
from marketplace.planning.advisor.fleets.model import propose
from marketplace.planning.advisor.fleets.option import Option
from marketplace.planning.advisor.fleets.queueing import load_of, rate_carried
from marketplace.planning.advisor.question import Question
from marketplace.planning.engine_specs import CLIENT_TIMEOUT_S, NO_LOAD
from router.simulator.engines.scenarios import EngineScenario
from router.simulator.engines.scheduled import Scheduled
from router.simulator.engines.sessions import alone
from router.simulator.engines.simulation import simulate_engines
from router.simulator.workload import Sizes, poisson
from tests.unit.marketplace.planning.advisor.options import option
from workers.backends.emulator.fleet import WORKERS
from workers.backends.emulator.roofline import REQUEST_OVERHEAD_S

MODEL = "emulated/llama-2-70b-chat"
CHAT = Question(
    model=MODEL,
    rate_hz=9.0,
    slo_ms=9_000,
    share=0.9,
    prompt_tokens=512,
    completion_tokens=128,
    size_cv=0.6,
)


def figures_of(worker: str = "emulated-h100-0") -> EngineFigures:
    """What the emulator reports about itself."""
    told = WORKERS[worker].engines()[MODEL]
    first, step = Sum(told["first"], (True,) * 3, 0.0), Sum(told["step"], (True,) * 4, 0.0)
    return EngineFigures(first, step, 0, told["sequences"], 128.0, 1.0, told["kv_tokens"])


def engine(question: Question = CHAT, worker: str = "emulated-h100-0", **changed: int) -> Option:
    figures = replace(figures_of(worker), **changed)
    return as_engine(option(worker), figures, figures.at_once, question)


def as_slots(known: Option) -> Option:
    """The same without its figures: what a call takes alone, in each of its slots."""
    alone_ms, slots = known.service_ms, known.sequences
    return option(known.name, ms=alone_ms, slots=slots, usd=known.cost_usd)


def within_on_real_engines(count: int, question: Question, seed: int, calls: int) -> float:
    """Share of calls within the SLO on the emulator's own engines, one token at a time."""
    profile = WORKERS["emulated-h100-0"].profile(MODEL)
    sequences = figures_of().at_once
    engines = tuple(profile.engine(f"h100-{n}", sequences) for n in range(count))
    rng = Random(seed)
    arrivals = poisson(question.rate_hz, Sizes(question.size_cv)).arrivals(rng)
    sessions = [
        alone(
            n,
            arrival.at_s,
            int(question.prompt_tokens),
            max(round(question.completion_tokens * arrival.size), 1),
            shared=0,
            shared_tokens=0,
        )
        for n, arrival in zip(range(calls), arrivals, strict=False)
    ]
    scenario = EngineScenario(
        "real", "", engines, NO_LOAD, math.inf, client_timeout_s=CLIENT_TIMEOUT_S
    )
    results = simulate_engines(scenario, Scheduled(seed=seed, engine="vLLM"), seed, sessions)
    left_s = question.slo_ms / 1e3 - REQUEST_OVERHEAD_S
    counted = [result for result in results if result.at_s > sessions[calls // 10].at_s]
    return sum(not r.error and r.latency_s <= left_s for r in counted) / len(counted)


def bought(made: Answer) -> int:
    assert made.fleet is not None
    return sum(line.count for line in made.fleet.lines)


def test_slots_are_advised_too_few_where_an_engines_batch_slows_its_calls() -> None:
    by_slots = answer(CHAT, [as_slots(engine())], task="chat")
    by_engines = answer(CHAT, [engine()], task="chat")
    assert (by_slots.worker_model, by_engines.worker_model) == ("slots", "engines")
    assert within_on_real_engines(bought(by_slots), CHAT, seed=77, calls=700) < CHAT.share
    assert within_on_real_engines(bought(by_engines), CHAT, seed=77, calls=700) >= CHAT.share


def test_a_check_judges_slots_fit_and_engines_not() -> None:
    one = emulate([as_slots(engine())], (1,), CHAT, seed=3, stages=(700,))
    assert (one.verdict, one.worker_model) == (Verdict.MEETS, WorkerModel.SLOTS)
    one = emulate([engine()], (1,), CHAT, seed=3, stages=(700,))
    assert (one.verdict, one.worker_model) == (Verdict.MISSES, WorkerModel.ENGINES)


@pytest.mark.parametrize("rate_hz", [1.5, 4.5])
@pytest.mark.parametrize("slo_ms", [6_000, 9_000])
def test_the_model_is_near_the_simulated_engines(rate_hz: float, slo_ms: float) -> None:
    question = msgspec.structs.replace(CHAT, rate_hz=rate_hz, slo_ms=slo_ms)
    run = emulate([engine()], (1,), question, seed=3, stages=(1_000,))
    load = load_of(engine(), 1, rate_hz, CHAT.size_cv)
    assert load.within(slo_ms) == pytest.approx(run.within[0], abs=0.07)


def test_a_small_cache_carries_less_and_one_without_room_is_left_out() -> None:
    asked = {"slo_ms": 9_000.0, "share": 0.9, "cv": 0.6, "utilisation_max": 0.9}
    rates = [
        rate_carried(engine(kv_tokens=tokens), 1, **asked) for tokens in (3_000, 6_000, 200_000)
    ]
    assert rates == sorted(rates)
    assert rates[-1] > 1.5 * rates[0]
    full = engine(kv_tokens=500)
    assert not full.has_room
    made = answer(CHAT, [full], task="chat")
    assert made.fleet is None
    assert made.options[0].left_out == "memory"


def test_what_is_simulated_waits_for_room_in_the_cache() -> None:
    small = emulate([engine(kv_tokens=3_000)], (2,), CHAT, seed=3, stages=(500,))
    large = emulate([engine()], (2,), CHAT, seed=3, stages=(500,))
    assert small.within[0] < large.within[0] - 0.2


def test_a_fleet_with_an_option_that_is_no_engine_is_emulated_as_slots_and_says_so() -> None:
    other = option("other", ms=2_400.0, slots=4, usd=0.6)
    options = [engine(), other]
    made = emulate(options, (1, 1), CHAT, seed=3, stages=(500,))
    assert made.worker_model is WorkerModel.SLOTS
    made = emulate(options, (1, 0), CHAT, seed=3, stages=(500,))
    assert made.worker_model is WorkerModel.ENGINES
    bounds = {"slo_ms": CHAT.slo_ms, "share": CHAT.share, "cv": CHAT.size_cv}
    alone_hz = rate_carried(engine(), 1, **bounds, utilisation_max=CHAT.utilisation_max)
    mixed = answer(msgspec.structs.replace(CHAT, rate_hz=1.1 * alone_hz), options, task="chat")
    assert mixed.fleet is not None
    assert {line.option for line in mixed.fleet.lines} == {"other", "emulated-h100-0"}
    assert mixed.worker_model is WorkerModel.SLOTS
    assert "engines_as_slots" in mixed.assumptions


def test_an_engine_that_is_slower_however_many_calls_run_is_not_looked_at() -> None:
    fast, slow = engine(), engine(worker="emulated-a100-0")
    assert undominated([slow, fast]) == [fast]
    cheap = msgspec.structs.replace(slow, cost_nano=fast.cost_nano // 2)
    assert undominated([cheap, fast]) == [cheap, fast]


def test_longer_prompts_and_answers_need_more_engines() -> None:
    def needed(**changed: float) -> int:
        question = msgspec.structs.replace(CHAT, slo_ms=60_000, **changed)
        counts = propose(question, [engine(question)])
        assert counts is not None
        return counts[0]

    assert needed(prompt_tokens=1_500) > needed()
    assert needed(completion_tokens=400) > needed()
