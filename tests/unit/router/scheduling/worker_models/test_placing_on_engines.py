"""Where streamed generations go, and when."""

import pytest
from msgspec.structs import replace

from router.domain.catalog import Endpoint, EngineCurve
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Dispatch
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket, Used
from router.scheduling.worker_models.engines import EngineEndpoint
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket

ANSWER = 20
WARM = 30
"""Calls after which estimates of engines that are alike are alike."""


def engine(name: str, slots: int = 4) -> Endpoint:
    """A worker with its own deployment, about which nothing is known."""
    return endpoint(name, slots=slots, service_ms=0.0)


def asked(name: str, *candidates: str, now_s: float, prompt: int = 500) -> Ticket:
    return ticket(
        name,
        *candidates,
        now_s=now_s,
        streams=True,
        prompt_bytes=4 * prompt,
        prompt_tokens=float(prompt),
        answer_tokens=float(ANSWER),
    )


def sent(made: Scheduler, one: Ticket) -> Attempt:
    (decision,) = made.arrive(one, one.arrived_s)
    assert isinstance(decision, Dispatch)
    return decision.attempt


def answered(made: Scheduler, attempt: Attempt, *, first_s: float, step_s: float) -> float:
    """Have an attempt answered; when it was."""
    now_s = attempt.dispatched_s + first_s
    made.first_byte(attempt, now_s)
    attempt.heard(1, now_s)
    for _ in range(ANSWER - 1):
        now_s += step_s
        attempt.heard(1, now_s)
    made.ended(attempt, ANSWERED, now_s, Used(int(attempt.ticket.prompt_tokens), 0, ANSWER))
    return now_s


def test_an_engine_that_takes_seconds_for_a_first_token_still_has_room() -> None:
    made = scheduler(engine("slow"))
    now_s = 0.0
    for number in range(40):
        attempt = sent(made, asked(str(number), "slow", now_s=now_s))
        now_s = answered(made, attempt, first_s=6.0, step_s=0.5) + 1
    assert made.waiting == 0


def test_of_two_engines_the_one_that_was_quicker_gets_most_and_the_other_some() -> None:
    made = scheduler(engine("quick"), engine("slow"))
    now_s, went = 0.0, {"quick": 0, "slow": 0}
    for number in range(60):
        attempt = sent(made, asked(str(number), "quick", "slow", now_s=now_s))
        name = attempt.endpoint.id
        went[name] += 1
        factor = 1 if name == "quick" else 5
        now_s = answered(made, attempt, first_s=0.05 * factor, step_s=0.02 * factor)
    assert went["quick"] > 50


def test_those_that_come_at_once_are_spread_over_engines_that_are_alike() -> None:
    made = scheduler(*(engine(name, slots=64) for name in "abc"))
    went = [
        sent(made, asked(str(number), "a", "b", "c", now_s=0.001 * number)).endpoint.id
        for number in range(9)
    ]
    assert sorted(went) == list("aaabbbccc")


def test_a_chat_goes_back_to_the_engine_that_has_its_beginning() -> None:
    made = scheduler(engine("a"), engine("b"))
    prefix = tuple(range(40))
    first = sent(made, asked("one", "a", "b", now_s=0.0, prompt=2_500))
    answered(made, first, first_s=0.1, step_s=0.02)
    turn = replace(first.ticket, id="two", arrived_s=2.0, prefix=prefix)
    there = sent(made, turn)
    answered(made, there, first_s=0.1, step_s=0.02)
    other = "b" if there.endpoint.id == "a" else "a"
    busy = sent(made, asked("three", there.endpoint.id, now_s=4.0, prompt=100))
    again = replace(turn, id="four", arrived_s=4.1)
    back = sent(made, again)
    assert back.endpoint.id == there.endpoint.id != other
    assert back.cached_tokens > 2_000
    assert busy.cached_tokens == 0


def test_calls_of_a_session_go_to_its_engine_whatever_they_begin_with() -> None:
    made = scheduler(engine("a"), engine("b"))
    now_s, began = 0.0, {7: "a", 8: "b"}
    for number in range(WARM + 6):
        for session, name in began.items():
            candidates = (name,) if number < WARM else ("a", "b")
            call = asked(f"{session}-{number}", *candidates, now_s=now_s, prompt=2_500)
            prefix = tuple(hash((session, number, place)) for place in range(40))
            attempt = sent(made, replace(call, prefix=prefix, session=session))
            assert attempt.endpoint.id == name
            now_s = answered(made, attempt, first_s=0.1, step_s=0.02) + 1


def test_a_session_goes_elsewhere_rather_than_wait() -> None:
    made = scheduler(engine("a", slots=1), engine("b", slots=1))
    one, two = (
        sent(made, replace(asked(name, "a", "b", now_s=0.0), prefix=(number, 9), session=7))
        for number, name in enumerate(("one", "two"))
    )
    assert {one.endpoint.id, two.endpoint.id} == {"a", "b"}


def test_a_decision_keeps_the_parts_of_each_score_at_that_time() -> None:
    made = scheduler(engine("a"), engine("b"))
    turn = replace(asked("one", "a", "b", now_s=0.0, prompt=2_500), prefix=tuple(range(40)))
    there = sent(made, turn)
    answered(made, there, first_s=0.1, step_s=0.02)
    sent(made, asked("two", there.endpoint.id, now_s=3.9))
    (decision,) = made.arrive(replace(turn, id="three", arrived_s=4.0), 4.0)
    assert isinstance(decision, Dispatch)
    assert decision.attempt.endpoint is there.endpoint
    ended_s = answered(made, decision.attempt, first_s=9.0, step_s=1.0)
    sent(made, asked("four", "a", "b", now_s=ended_s))
    seen = {candidate.endpoint_id: candidate for candidate in decision.considered}
    assert set(seen) == {"a", "b"}
    for candidate in seen.values():
        assert candidate.terms is not None
        assert candidate.score == pytest.approx(candidate.terms.own_s + candidate.terms.others_s)
        assert candidate.service_s == pytest.approx(candidate.terms.own_s)
        assert (candidate.terms.prompt_tokens, candidate.terms.answer_tokens) == (2_500, ANSWER)
    back = seen.pop(there.endpoint.id).terms
    (other,) = (candidate.terms for candidate in seen.values())
    assert back is not None
    assert other is not None
    assert back.cached_tokens > 2_000 > other.cached_tokens == 0
    assert back.prefill_s < 0.3 * other.prefill_s
    assert back.others_s > other.others_s == 0  # The second one runs there.


def test_the_wait_for_a_saturated_engine_counts_beside_the_terms() -> None:
    made = scheduler(engine("a"), engine("b"))
    now_s = 0.0
    while not made.waiting:
        now_s += 0.01
        made.arrive(asked(f"{now_s}", "a", now_s=now_s, prompt=12_000), now_s)
    (decision,) = made.arrive(asked("other", "a", "b", now_s=now_s), now_s)
    assert isinstance(decision, Dispatch)
    busy, idle = sorted(decision.considered, key=lambda one: one.endpoint_id)
    assert busy.terms is not None
    assert idle.wait_s == 0 < busy.wait_s
    terms_s = busy.terms.own_s + busy.terms.others_s
    weight = decision.attempt.ticket.policy.wait_weight
    assert busy.score == pytest.approx(weight * busy.wait_s + terms_s)


def test_a_number_of_slots_that_was_told_holds_no_engine_back() -> None:
    made = scheduler(engine("told-one", slots=1))
    now_s = 0.0
    for number in range(12):
        attempt = sent(made, asked(str(number), "told-one", now_s=now_s))
        now_s += 0.1
        made.first_byte(attempt, now_s)
        attempt.heard(1, now_s)
    assert len(made.fleet.workers["told-one"].inflight) == 12


def test_an_engine_with_one_answer_at_a_time_is_expected_to_take_what_it_takes() -> None:
    """Its steps had one answer under way, not none."""
    made = scheduler(engine("engine"))
    now_s = 1.0
    for number in range(80):
        attempt = sent(made, asked(str(number), "engine", now_s=now_s))
        now_s = answered(made, attempt, first_s=0.03, step_s=0.008) + 1
    state = made.fleet.endpoints["engine"]
    state.model.look(now_s)
    expected_s = state.service_s(asked("next", "engine", now_s=now_s))
    assert expected_s == pytest.approx(0.03 + (ANSWER - 1) * 0.008, rel=0.1)


# What a benchmark said

H100 = EngineCurve((0.01, 0.0002, 0.03), (0.008, 0.0001, 0.0005, 0.03))
CPU = EngineCurve((0.2, 0.05, 8.0), (0.12, 0.02, 0.1, 8.0), event_tokens=2.0)


def benchmarked(name: str, curve: EngineCurve | None, deployment: int = 0) -> Endpoint:
    return endpoint(name, slots=4, service_ms=0.0, engine_prior=curve, deployment=deployment)


def model_of(made: Scheduler, name: str) -> EngineEndpoint:
    model = made.fleet.endpoints[name].model
    assert isinstance(model, EngineEndpoint)
    return model


def test_before_any_call_a_fast_engine_is_not_expected_to_be_like_a_slow_one() -> None:
    for order in (("cpu", "h100"), ("h100", "cpu")):
        made = scheduler(benchmarked("h100", H100), benchmarked("cpu", CPU))
        assert sent(made, asked("first", *order, now_s=1.0)).endpoint.id == "h100"
        one = asked("second", *order, now_s=1.0)
        fast, slow = (model_of(made, name) for name in ("h100", "cpu"))
        assert slow.service_s(one) > 10 * fast.service_s(one)
        assert made.fleet.endpoints["cpu"].estimate.is_guess


def test_a_burst_of_first_calls_goes_to_the_fast_engine() -> None:
    names = ("cpu", "h100")
    made = scheduler(benchmarked("h100", H100), benchmarked("cpu", CPU))
    to = [sent(made, asked(str(n), *names, now_s=1.0)).endpoint.id for n in range(4)]
    assert to == ["h100"] * 4


def test_calls_soon_outweigh_what_a_benchmark_said() -> None:
    made = scheduler(benchmarked("engine", replace(CPU, event_tokens=1.0)))
    now_s = 1.0
    for number in range(40):
        attempt = sent(made, asked(str(number), "engine", now_s=now_s))
        now_s = answered(made, attempt, first_s=0.03, step_s=0.008) + 1
    made.fleet.endpoints["engine"].model.look(now_s)
    took_s = 0.03 + (ANSWER - 1) * 0.008
    expected_s = model_of(made, "engine").service_s(asked("next", "engine", now_s=now_s))
    assert expected_s == pytest.approx(took_s, rel=0.2)


def test_a_newer_benchmark_acts_on_engines_that_run_and_counts_like_what_they_have_shown() -> None:
    engines = [benchmarked(name, H100, deployment=7) for name in ("one", "two")]
    made = scheduler(*engines)
    now_s = 1.0
    for number in range(20):
        attempt = sent(made, asked(str(number), "one", "two", now_s=now_s))
        now_s = answered(made, attempt, first_s=0.03, step_s=0.008) + 1
    speed = model_of(made, "one").engine.speed
    assert speed is model_of(made, "two").engine.speed
    first, step = list(speed.first.weights), list(speed.step.weights)
    anew = [
        replace(engine, deployment=replace(engine.deployment, engine_prior=CPU))
        for engine in engines
    ]
    made.apply(anew, now_s)
    for known, before, received in (
        (speed.first, first, CPU.first),
        (speed.step, step, CPU.step),
    ):
        # Once, though it has two engines.
        assert known.weights == pytest.approx(
            [(own * other) ** 0.5 for own, other in zip(before, received, strict=True)]
        )
    made.apply(anew, now_s)
    without = [
        replace(engine, deployment=replace(engine.deployment, engine_prior=None))
        for engine in engines
    ]
    blended = list(speed.step.weights)
    made.apply(without, now_s)
    assert speed.step.weights == blended, "a profile that has expired unlearns nothing"


def test_a_benchmark_of_engines_that_showed_nothing_is_taken_as_it_is() -> None:
    made = scheduler(benchmarked("engine", None))
    made.apply([benchmarked("engine", CPU)], 1.0)
    sent(made, asked("first", "engine", now_s=2.0))
    speed = model_of(made, "engine").engine.speed
    assert (speed.first.weights, speed.step.weights) == (list(CPU.first), list(CPU.step))
    assert speed.event_tokens == CPU.event_tokens
