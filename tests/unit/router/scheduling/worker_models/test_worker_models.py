"""Slots and engines behind one interface: which a worker has, and what happens to the other."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from router.domain.catalog import Endpoint
from router.scheduling.attempts.endings import ANSWERED, FAILED
from router.scheduling.fleet.worker import costs_s
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Used
from router.scheduling.worker_models.costs import Costs
from router.scheduling.worker_models.engines import EngineEndpoint, EngineWorker
from router.scheduling.worker_models.slots import SlotWorker
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler, ticket

CHAT = {"prompt_bytes": 2_000, "prompt_tokens": 500.0, "answer_tokens": 20.0}


def deployments(worker: str, *names: str) -> list[Endpoint]:
    """Several deployments on one worker."""
    return [
        Endpoint(name, item.deployment, endpoint(worker, slots=8).worker, item.pool)
        for name in names
        for item in [endpoint(name, service_ms=100.0)]
    ]


def streamed(made: Scheduler, name: str, to: str, now_s: float = 0.0) -> None:
    """A generation that is seen token by token, begun and ended."""
    attempt = place(made, name, to, now_s=now_s, streams=True, **CHAT)
    made.first_byte(attempt, now_s + 0.05)
    for step in range(20):
        attempt.heard(1, now_s + 0.05 + 0.01 * step)
    made.ended(attempt, ANSWERED, now_s + 0.25, Used(500, 0, 20))


def kinds(made: Scheduler) -> Sequence[str]:
    return sorted(type(state.model).__name__ for state in made.fleet.endpoints.values())


def test_a_worker_has_slots_until_an_answer_of_it_streams_and_is_an_engine_from_then_on() -> None:
    made = scheduler(*deployments("gpu", "one", "two"), endpoint("other"))
    worker = made.fleet.workers["gpu"]
    assert isinstance(worker.model, SlotWorker)
    streamed(made, "chat", "one")
    assert isinstance(worker.model, EngineWorker)
    assert kinds(made) == ["EngineEndpoint", "EngineEndpoint", "SlotEndpoint"]


@pytest.mark.parametrize(
    ("engine", "task", "kind"),
    [
        ("vLLM 0.11", "chat", "EngineEndpoint"),
        ("SGLang", "chat", "EngineEndpoint"),
        ("vLLM", "embeddings", "SlotEndpoint"),
        ("llama.cpp", "chat", "SlotEndpoint"),
        ("", "chat", "SlotEndpoint"),
    ],
)
def test_a_server_of_chat_that_always_batches_is_an_engine_by_its_name(
    engine: str, task: str, kind: str
) -> None:
    one = endpoint("one")
    named = replace(one, task=task, pool=replace(one.pool, engine=engine))
    assert kinds(scheduler(named)) == [kind]


def test_requests_from_before_the_model_changed_still_count_and_teach() -> None:
    made = scheduler(*deployments("gpu", "one"))
    worker = made.fleet.workers["gpu"]
    whole = [place(made, str(number), "one") for number in range(9)]  # The ninth waits there.
    assert [item.run.waiting for item in whole] == 8 * [False] + [True]
    streamed(made, "chat", "one", now_s=0.1)
    assert (len(worker.inflight), worker.free_slots) == (9, worker.limit - 9)
    made.ended(whole[0], ANSWERED, 0.5)
    assert (whole[8].run.waiting, whole[8].run.started_s) == (False, 0.5)
    samples = made.fleet.endpoints["one"].estimate.samples
    for item in whole[1:]:
        made.ended(item, ANSWERED, 0.9)
    assert made.fleet.endpoints["one"].estimate.samples == samples + 8
    assert not worker.inflight


def test_other_requests_than_generations_have_their_own_service_and_no_part_of_the_batch() -> None:
    made = scheduler(*deployments("gpu", "chat", "embeddings"))
    streamed(made, "chat", "chat")
    for number in range(60):
        now_s = 1.0 + number
        attempt = place(made, str(number), "embeddings", now_s=now_s)
        made.ended(attempt, ANSWERED, now_s + 0.02)
    model = made.fleet.endpoints["embeddings"].model
    assert isinstance(model, EngineEndpoint)
    place(made, "beside", "embeddings", now_s=90.0)
    assert not model.worker.batch.prefilling
    assert model.service_s(ticket("next")) == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("streams", [False, True])
def test_what_a_request_costs_is_its_service_and_what_it_adds_to_those_that_run(
    streams: bool,
) -> None:
    curve = ((2, 1.5), (4, 2.5))
    made = scheduler(endpoint("one", slots=8, batch_curve=curve))
    asked = ticket("next", streams=streams, **CHAT)
    state, worker = made.fleet.endpoints["one"], made.fleet.workers["one"]
    costs: list[float] = []
    for number in range(3):
        place(made, str(number), "one", streams=streams, **CHAT)
        worker.model.look(0.001)
        added_s = state.model.cost_s(asked) - state.service_s(asked)
        assert added_s > 0
        costs.append(state.model.cost_s(asked))
    assert costs == sorted(costs)


def test_an_endpoint_that_comes_back_has_the_model_that_its_worker_has_by_then() -> None:
    one, two = deployments("gpu", "one", "two")
    made = scheduler(one, two)
    place(made, "long", "two")
    made.apply([one], 1.0)
    streamed(made, "chat", "one", now_s=2.0)
    made.apply([one, two], 3.0)
    assert kinds(made) == ["EngineEndpoint", "EngineEndpoint"]
    assert made.fleet.workers["gpu"].endpoints == list(made.fleet.endpoints.values())


@pytest.mark.parametrize("streamed_before", [False, True])
def test_prompts_may_wait_longer_while_others_wait_where_nobody_sees_first_tokens(
    streamed_before: bool,
) -> None:
    one = endpoint("one", slots=640, service_ms=0.0)
    made = scheduler(replace(one, pool=replace(one.pool, engine="vLLM")))
    model, worker = made.fleet.endpoints["one"].model, made.fleet.workers["one"]
    assert isinstance(model, EngineEndpoint)
    if streamed_before:
        streamed(made, "chat", "one")
    for number in range(640):
        worker.model.look(50.0)
        if model.engine.waiting_s > 0.5:
            break
        place(made, str(number), "one", now_s=50.0, **CHAT)
    assert 0.5 < model.engine.waiting_s < 1
    assert worker.has_room
    worker.model.waited_for(True)
    worker.model.look(50.0)
    assert worker.has_room is not streamed_before


def test_an_engine_is_kept_at_what_people_can_read_while_an_overload_lasts() -> None:
    one = endpoint("one", slots=64, service_ms=0.0)
    made = scheduler(replace(one, pool=replace(one.pool, engine="vLLM")))
    model, worker = made.fleet.endpoints["one"].model, made.fleet.workers["one"].model
    assert isinstance(model, EngineEndpoint)
    model.engine.reading.token_s, model.engine.reading.answers = 0.8, 16.0
    limits = []
    for is_overload in (False, True, False):
        worker.waited_for(True, is_overload=is_overload)
        worker.look(1.0)
        limits.append(worker.limit)
    assert limits[0] == limits[2] >= 64
    assert 1 < limits[1] < 16


@pytest.mark.parametrize("streams", [False, True])
def test_a_worker_that_comes_back_is_sent_nothing_while_none_of_its_slots_is_leased(
    streams: bool,
) -> None:
    made = scheduler(endpoint("one", slots=4))
    attempts = [place(made, str(n), "one", streams=streams, **CHAT) for n in range(3)]
    made.lease({"one": 0}, 0.0)
    for attempt in attempts[:2]:
        made.ended(attempt, FAILED, 0.1)
    worker = made.fleet.workers["one"]
    assert worker.ejection.is_ejected
    made.ended(attempts[2], ANSWERED, 0.2)
    assert not worker.ejection.is_ejected
    worker.model.look(0.2)
    assert worker.limit == 0
    assert made.arrive(ticket("next", "one", now_s=0.3, streams=streams, **CHAT), 0.3) == []


def test_a_generation_costs_the_same_alone_and_compared_with_others_on_either_model() -> None:
    curved = endpoint("curved", slots=4, service_ms=80.0, batch_curve=((1, 1.0), (4, 2.0)))
    made = scheduler(*deployments("gpu", "one"), curved, endpoint("plain", service_ms=40.0))
    for turn in range(3):
        streamed(made, f"chat-{turn}", "one", float(turn))
        place(made, f"beside-{turn}", "curved", now_s=3.0)
    place(made, "running", "one", now_s=3.0, streams=True, **CHAT)
    states = [made.fleet.endpoints[name] for name in ("one", "curved", "plain")]
    engine = states[0].worker.model
    assert isinstance(engine, EngineWorker)
    engine.batch.reported(0.5)
    engine.recheck_s = 0.0
    made.look(3.1)
    chat = replace(ticket("chat"), work=1.5, prompt_tokens=500.0, answer_tokens=20.0)
    long = replace(chat, prompt_tokens=50_000.0)
    costs = states[0].model.pace
    assert isinstance(costs, Costs)
    assert costs.room_s(long.prompt_tokens) > 0
    assert states[1].model.cost_s(ticket("other")) > states[1].service_s(ticket("other"))
    for asked in (chat, long, ticket("rows")):
        alone_s = [state.model.cost_s(asked) for state in states]
        assert costs_s(asked, states) == pytest.approx(alone_s)
