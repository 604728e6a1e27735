"""What fits into an engine's KV cache, and that a request which does not is predicted to wait."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.contracts.engines.engine_report import EngineReport
from router.scheduling.attempts.endings import NOT_SENT
from router.scheduling.decisions import Dispatch
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket
from router.scheduling.worker_models.engines import EngineEndpoint
from router.scheduling.worker_models.kv_room import KvRoom
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket


def test_the_room_is_what_runs_over_the_share_that_it_takes() -> None:
    room = KvRoom()
    room.reported(0.1, 2_000, 0)
    assert room.tokens == inf
    room.reported(0.5, 10_000, 0)
    assert room.tokens == 20_000
    room.reported(1.0, 50_000, 30_000)  # What waits for room takes none.
    assert room.tokens == pytest.approx(20_000)
    room.reported(None, 0, 0)
    assert room.tokens == inf


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6)), max_size=20))
def test_the_room_is_never_none(reports: list[tuple[float, float, float]]) -> None:
    room = KvRoom()
    for share, context, waiting in reports:
        room.reported(share, context, min(waiting, context))
        assert room.tokens > 0


def streamed(name: str, *candidates: str, prompt: float, now_s: float) -> Ticket:
    one = ticket(name, *candidates, now_s=now_s, streams=True, prompt_tokens=prompt)
    return replace(one, answer_tokens=100.0)


def sent(made: Scheduler, one: Ticket) -> Attempt:
    (decision,) = made.arrive(one, one.arrived_s)
    assert isinstance(decision, Dispatch)
    return decision.attempt


def half_full() -> Scheduler:
    """Two engines alike: ``full`` runs four answers, which take up most of its cache."""
    made = scheduler(*(endpoint(name, slots=64, service_ms=0.0) for name in ("full", "free")))
    made.ended(sent(made, streamed("shown", "free", prompt=1_000, now_s=0.0)), NOT_SENT, 0.0)
    for number in range(4):
        attempt = sent(made, streamed(str(number), "full", prompt=1_000, now_s=0.1 * number))
        made.first_byte(attempt, 0.1 * number + 0.05)
        attempt.heard(1, 0.1 * number + 0.05)
    made.reported("full", EngineReport(4, 0.8), 1.0)
    made.reported("free", EngineReport(0, 0.0), 1.0)
    made.look(1.0)
    return made


def first_s(made: Scheduler, name: str, prompt: float) -> float:
    model = made.fleet.endpoints[name].model
    assert isinstance(model, EngineEndpoint)
    return model.engine.costs.first_token_s(prompt)


def test_a_prompt_that_does_not_fit_is_predicted_to_wait() -> None:
    made = half_full()
    each_s = (first_s(made, "full", 900) - first_s(made, "full", 400)) / 500
    fits_s, waits_s = first_s(made, "full", 1_000), first_s(made, "full", 3_000)
    assert waits_s - fits_s > 2_000 * each_s + 1.0
    free_s = [first_s(made, "free", prompt) for prompt in (1_000, 2_000, 3_000)]
    assert free_s[2] - free_s[1] == pytest.approx(free_s[1] - free_s[0])


def test_its_score_and_its_record_count_the_wait() -> None:
    made = half_full()
    (decision,) = made.arrive(streamed("big", "full", "free", prompt=3_000, now_s=1.0), 1.0)
    assert isinstance(decision, Dispatch)
    assert decision.attempt.endpoint.id == "free"
    terms = {item.endpoint_id: item.terms for item in decision.considered}
    full, free = terms["full"], terms["free"]
    assert full is not None
    assert free is not None
    assert full.ahead_s > free.ahead_s + 1.0


def test_an_engine_that_is_full_has_no_room_and_gets_it_back() -> None:
    made = half_full()
    worker = made.fleet.workers["full"]
    assert worker.has_room
    for number in range(4, 8):
        worker.model.look(1.0)
        if worker.has_room:
            sent(made, streamed(str(number), "full", prompt=2_000, now_s=1.0))
    made.look(1.01)
    assert not worker.has_room
    assert worker.model.available_s > 1.0
    made.reported("full", None, 1.1)
    made.look(1.1)
    assert first_s(made, "full", 3_000) < 2.0


def test_a_wait_for_kv_room_teaches_nothing_of_an_engines_speed() -> None:
    made = half_full()
    model = made.fleet.endpoints["full"].model
    assert isinstance(model, EngineEndpoint)
    attempt = sent(made, streamed("big", "full", prompt=3_000, now_s=1.0))
    before = model.engine.factors
    made.first_byte(attempt, 4.0)
    assert model.engine.factors == before
