"""What an LLM engine takes for a request, and how that is learned."""

from math import log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.catalog import Policy
from router.scheduling.estimates.positive_fit import PositiveFit
from router.scheduling.ticket import Ticket, Used
from router.scheduling.worker_models.batch import Batch, Generation
from router.scheduling.worker_models.engine import Engine, followed
from router.scheduling.worker_models.engine_speed import EngineSpeed


def ticket(prompt: float, answer: float, *, streams: bool = True) -> Ticket:
    return Ticket(
        id="t",
        candidates=("e",),
        policy=Policy(1, 1, "m"),
        arrived_s=0.0,
        expires_s=1e9,
        prompt_tokens=prompt,
        answer_tokens=answer,
        streams=streams,
    )


# The batch


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.01, 2)), max_size=60), st.integers(0, 99))
def test_a_batch_that_has_emptied_holds_nothing(events: list[tuple[int, float]], seed: int) -> None:
    random, batch, now_s = Random(seed), Batch(), 0.0
    running: list[Generation] = []
    for kind, passed_s in events:
        now_s += passed_s
        if kind <= 2:
            one = Generation(
                random.uniform(1, 9_000), random.uniform(1, 900), streams=kind > 0, now_s=now_s
            )
            one.first_due_s = now_s + 0.5
            batch.begin(one, now_s)
            running.append(one)
        elif running and kind == 3:
            batch.first(random.choice(running), now_s)
        elif running:
            batch.end(running.pop(random.randrange(len(running))), now_s)
        batch.look(now_s)
        assert batch.decoding + len(batch.prefilling) == len(running)
        assert batch.context_tokens == pytest.approx(
            sum(item.prompt_tokens for item in running), abs=1e-6
        )
    for one in running:
        batch.end(one, now_s)
    batch.look(now_s + 10)
    assert (batch.decoding, batch.streaming, batch.pending_tokens) == (0, 0, 0.0)
    assert batch.context_tokens == pytest.approx(0, abs=1e-6)


def test_an_answer_learns_the_mean_batch_that_it_was_decoded_in() -> None:
    batch = Batch()
    one, other = (Generation(100, 100, streams=True, now_s=0.0) for _ in range(2))
    batch.begin(one, 0.0)
    batch.begin(other, 0.0)
    assert (one.ahead_tokens, other.ahead_tokens) == (100, 200)
    batch.first(one, 1.0)
    batch.first(other, 3.0)
    batch.end(one, 5.0)
    assert (batch.decoding_s - one.decoding_then) / 4 == pytest.approx(1.5)
    assert batch.prefilled_tokens - one.prefilled_then == 100


# The terms


def test_cached_tokens_are_not_computed_and_add_nothing_to_others() -> None:
    engine = Engine(EngineSpeed(), Batch())
    engine.begin(ticket(500, 20), 0, 0.0)
    engine.look(0.0)
    saved = engine.costs.saved_s(1_500)
    alone = 1_500 * engine.costs.prefill_s
    assert saved == pytest.approx(2 * alone)  # Its own time, and that of the one that runs there.


def test_an_engine_that_works_on_much_costs_more_than_an_idle_one() -> None:
    speed = EngineSpeed()
    busy, idle = Engine(speed, Batch()), Engine(speed, Batch())
    for _ in range(8):
        busy.begin(ticket(4_000, 100), 0, 0.0)
    busy.look(0.0)
    idle.look(0.0)
    assert busy.costs.whole_s(500, 50) > 2 * idle.costs.whole_s(500, 50)


def test_a_request_is_as_large_as_what_it_takes_up_of_an_engine() -> None:
    speed = EngineSpeed()
    engine = Engine(speed, Batch())
    for _ in range(400):
        speed.observe(Used(1_000, 0, 50))
    engine.look(0.0)
    assert engine.work(ticket(1_000, 50)) == pytest.approx(1, rel=0.01)
    assert engine.work(ticket(2_000, 100)) == pytest.approx(2, rel=0.01)
    assert 1 < engine.work(ticket(2_000, 50)) < 2
    for _ in range(400):
        speed.observe(Used(1_000, 900, 50))
    engine.look(0.0)
    assert engine.work(ticket(1_000, 50)) == pytest.approx(1, rel=0.01), "as cached as others'"
    assert engine.work(ticket(2_000, 50)) < 1.2


def test_silence_is_evidence_before_anything_has_failed() -> None:
    engine = Engine(EngineSpeed(), Batch())
    engine.begin(ticket(500, 20), 0, 0.0)
    engine.look(0.01)
    soon = engine.costs.whole_s(500, 20)
    engine.look(5.0)
    assert engine.costs.whole_s(500, 20) > 4 * soon


def test_an_engines_slowness_fades_while_nothing_is_heard_of_it() -> None:
    speed = EngineSpeed()
    slow, sibling = Engine(speed, Batch()), Engine(speed, Batch())
    for number in range(60):
        for engine, took_s in ((slow, 0.9), (sibling, 0.1)):
            one = engine.begin(ticket(500, 20), 0, float(number))
            engine.first(one, number + took_s)
            engine.batch.end(one, number + took_s)
    apart: list[float] = []
    for now_s in (60.0, 100.0):
        slow.look(now_s)
        sibling.look(now_s)
        apart.append(slow.costs.first_token_s(500) / sibling.costs.first_token_s(500))
    assert apart[0] > 4
    assert apart[1] < 1.1


def test_a_factor_moves_by_no_more_than_a_share_whatever_is_seen() -> None:
    assert 1 < followed(1.0, 1e9) < 1.5
    assert 0.5 < followed(1.0, 1e-9) < 1


def test_an_engine_that_is_slow_by_itself_is_not_one_on_which_prompts_wait() -> None:
    speed = EngineSpeed()
    engine = Engine(speed, Batch())
    for number in range(100):
        now_s = 20.0 * number
        engine.look(now_s)
        one = engine.begin(ticket(500, 20), 0, now_s)
        engine.first(one, now_s + 6)
        engine.batch.end(one, now_s + 8)
    engine.look(2_000.0)
    assert engine.costs.first_token_s(500) > 3
    assert engine.waiting_s == 0
    for _ in range(4):
        engine.begin(ticket(500, 20), 0, 2_000.0)
    engine.look(2_030.0)
    assert engine.waiting_s > 1


# Learning


STEPS = {
    "linear": lambda batch: 0.020 + 0.0015 * batch,
    "saturating": lambda batch: 0.020 + 0.040 * batch / (batch + 12),
    "stepped": lambda batch: 0.020 + 0.012 * ((batch + 7) // 8),
}


@pytest.mark.parametrize("form", STEPS)
def test_a_step_is_learned_whatever_form_its_time_has(form: str) -> None:
    random, fit = Random(7), PositiveFit((0.05, 0.001, 0.005, 0.05))
    missed: list[float] = []
    for number in range(600):
        batch, context = random.randint(1, 24), random.uniform(0.1, 3)
        took_s = (STEPS[form](batch) + 0.002 * context) * random.lognormvariate(0, 0.1)
        x = (1.0, batch, context, random.uniform(0, 0.1))
        if number >= 300:
            missed.append(abs(log(fit.seconds(x) / (STEPS[form](batch) + 0.002 * context))))
        fit.learn(x, took_s)
    assert sum(missed) / len(missed) < 0.15


@given(st.lists(st.floats(0, 1e6), max_size=50))
def test_weights_stay_above_zero_whatever_is_seen(seen: list[float]) -> None:
    fit = PositiveFit((0.03, 0.001, 0.05))
    for seconds in seen:
        fit.learn((1.0, 3.0, 0.5), seconds)
    assert all(0 < weight < 1e9 for weight in fit.weights)


def test_whole_answers_teach_too() -> None:
    speed = EngineSpeed()
    engine = Engine(speed, Batch())
    for number in range(200):
        now_s = 10.0 * number
        engine.look(now_s)
        one = engine.begin(ticket(1_000, 50, streams=False), 0, now_s)
        engine.batch.end(one, now_s + 6)
        engine.ended(one, Used(1_000, 0, 50), now_s + 6)
    engine.look(2_000.0)
    assert engine.costs.end_s(1_000, 1_000, 50) == pytest.approx(6, rel=0.2)


def test_an_engine_that_is_slower_than_its_siblings_is_told_apart() -> None:
    speed = EngineSpeed()
    engines = [Engine(speed, Batch()) for _ in range(3)]
    for number in range(60):
        for place, engine in enumerate(engines):
            begun_s = 5.0 * number
            one = engine.begin(ticket(1_000, 20), 0, begun_s)
            first_s = begun_s + 0.1 * (1 + 3 * (place == 0))
            engine.first(one, first_s)
            engine.batch.end(one, first_s + 1)
            engine.ended(one, Used(1_000, 0, 20), first_s + 1)
    for engine in engines:
        engine.look(300.0)
    slow, *others = (engine.costs.first_token_s(1_000) for engine in engines)
    assert all(slow > 2 * other for other in others)


def test_engines_that_are_gone_are_no_siblings_any_more() -> None:
    speed = EngineSpeed()
    gone, other = Engine(speed, Batch()), Engine(speed, Batch())
    for number in range(30):
        one = gone.begin(ticket(500, 20), 0, float(number))
        gone.first(one, number + 0.9)
        gone.batch.end(one, number + 0.9)
    assert speed.first_factor > 1.05
    gone.retire()
    assert speed.first_factor == pytest.approx(1.0)
    other.retire()
    assert (speed.engines, speed.first_factor, speed.step_factor) == (0, 1.0, 1.0)


def test_an_engine_tells_what_share_of_its_prompts_was_cached_lately() -> None:
    engine = Engine(EngineSpeed(), Batch())
    assert engine.hit_rate is None
    for number in range(400):
        one = engine.begin(ticket(1_000, 20), 0, float(number))
        engine.batch.end(one, number + 0.5)
        cached = 900 if number >= 200 else 0
        engine.ended(one, Used(1_000, cached, 20), number + 0.5)
        if number == 199:
            assert engine.hit_rate == 0
    assert engine.hit_rate == pytest.approx(0.9, abs=0.02)
