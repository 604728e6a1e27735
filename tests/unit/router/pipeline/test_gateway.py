"""Every way a call can end: who is billed, what the client sees, and that nothing leaks."""

import asyncio
import json
import time

import msgspec
import pytest
from msgspec import structs

from router.contracts.record import encode_record
from router.domain.errors import (
    ModelUnknown,
    NotAllowed,
    NothingEligible,
    QueueFull,
    RequestInvalid,
    WorkerFailed,
)
from router.domain.money import Purse
from router.ingress.listing import model_list
from router.pipeline.plans.routing_table import Grant
from router.ports.upstream import StreamPart
from router.scheduling.attempts.endings import GIVEN_UP
from router.scheduling.estimates.estimate import UNKNOWN_S
from router.settings import Limits
from tests.unit.router.pipeline.line import (
    ANSWER,
    BROKEN,
    COST_NANO,
    LAST,
    TOKENS,
    FakeClient,
    FakeUpstream,
    Line,
    chat,
    in_time,
    snapshot,
    until,
)

FAST_ROOM = 5
"""Four slots of the fast worker and the credit; the slow one is worth no ticket's while."""


async def test_a_completed_call_is_billed_by_usage() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    client = await line.call()
    assert (client.status, client.body) == (200, ANSWER.body)
    assert client.headers["x-cost-nano-usd"] == str(COST_NANO)
    assert client.headers["x-route-worker-pool"] == "one"
    assert client.headers["x-route-attempts"] == "1"
    (record,) = line.records
    assert (record.outcome, record.charge_nano) == ("completed", COST_NANO)
    assert record.error == ""
    assert record.commission_nano == COST_NANO // 10
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


@pytest.mark.parametrize("finish", ["st\0op", "x" * 65])
async def test_a_record_keeps_no_finish_reason_that_is_no_name(finish: str) -> None:
    line = Line(FakeUpstream(lambda _: structs.replace(ANSWER, finish_reason=finish)))
    await line.call()
    assert (line.records[0].finish_reason, line.records[0].charge_nano) == ("", COST_NANO)


async def test_an_answer_tells_what_was_charged() -> None:
    body = b'{"model":"a/m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4}}'
    line = Line(FakeUpstream(lambda _: structs.replace(ANSWER, body=body)))
    usage = json.loads((await line.call()).body)["usage"]
    assert usage == {"prompt_tokens": 10, "completion_tokens": 4, "cost": COST_NANO / 1e9}
    assert line.records[0].charge_nano == COST_NANO


async def test_the_last_chunk_of_a_stream_tells_what_was_charged() -> None:
    last = structs.replace(LAST, usage_chunk=b'{"choices":[],"usage":{"prompt_tokens":10}}')
    line = Line(FakeUpstream(lambda _: [*TOKENS, last]))
    events = (await line.call(stream=True)).body.split(b"\n\n")
    assert events[:3] == [b"data: one", b"data: two", b"data: end"]
    usage = json.loads(events[3].removeprefix(b"data: "))["usage"]
    assert usage["cost"] == line.records[0].charge_nano / 1e9 == COST_NANO / 1e9


async def test_a_stream_that_breaks_after_its_usage_tells_no_cost() -> None:
    told = structs.replace(LAST, usage_chunk=b'{"usage":{}}', done=False)
    line = Line(FakeUpstream(lambda _: [*TOKENS, told, BROKEN]))
    client = await line.call(stream=True)
    assert client.ended_by
    assert b"usage" not in client.body


async def test_the_decision_of_every_candidate_is_on_record() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    await line.call()
    verdicts = {c.worker_id: c.verdict for c in line.records[0].candidates}
    assert verdicts == {"one-0": "chosen", "one-1": "tied", "two-0": "slower"}


async def test_a_stream_is_forwarded_and_billed_by_the_workers_usage() -> None:
    line = Line(FakeUpstream(lambda _: [*TOKENS, LAST]))
    client = await line.call(stream=True)
    assert client.body == b"data: one\n\ndata: two\n\ndata: end\n\n"
    assert (client.ended, client.ended_by, client.report) == (True, "", {})
    assert line.records[0].charge_nano == COST_NANO
    assert line.records[0].streamed
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_an_explained_stream_ends_with_its_route() -> None:
    line = Line(FakeUpstream(lambda _: [*TOKENS, LAST]))
    client = await line.call(stream=True, explain=True)
    route = client.report
    assert (route["worker"], route["cost_nano_usd"]) == ("one-0", COST_NANO)
    assert len(route["candidates"]) == 3


async def test_a_stream_and_its_record_say_what_each_engines_score_was_made_of() -> None:
    line = Line(FakeUpstream(lambda _: [*TOKENS, LAST]))
    client = await line.call(stream=True, explain=True)
    received = client.report["candidates"]
    assert received == json.loads(encode_record(line.records[0]))["candidates"]
    for candidate in received:
        terms = candidate["terms"]
        own_ms = terms["ahead_ms"] + terms["prefill_ms"] + terms["decode_ms"]
        assert candidate["service_ms"] == pytest.approx(own_ms, abs=0.002)
        score_ms = own_ms + terms["others_ms"] + 5 * candidate["wait_ms"]
        assert 1e3 * candidate["score"] == pytest.approx(score_ms, abs=0.002)
        assert terms["prompt_tokens"] > terms["cached_tokens"] == 0 < terms["answer_tokens"]


async def test_what_is_not_placed_on_engines_has_no_terms() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    await line.call()
    assert all(candidate.terms is None for candidate in line.records[0].candidates)


async def test_an_explained_answer_comes_with_its_route() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    client = await line.call(explain=True)
    assert client.report["usage"]["completion_tokens"] == 4


async def test_a_client_that_leaves_pays_for_what_was_produced_and_the_worker_is_told() -> None:
    never = asyncio.Event()
    upstream = FakeUpstream(lambda _: [*TOKENS, never])
    line, client = Line(upstream), FakeClient()
    call = asyncio.create_task(line.call(stream=True, client=client))
    await until(lambda: client.body.count(b"data:") == 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (record,) = line.records
    assert (record.outcome, record.completion_tokens) == ("client_gone", 2)
    assert record.error == ""
    assert record.charge_nano > 0
    assert upstream.closed == 1
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_a_client_that_leaves_a_plain_call_pays_for_its_workers_time() -> None:
    line = Line(FakeUpstream(lambda _: asyncio.Event()))
    call = asyncio.create_task(line.call())
    await until(lambda: line.slots_taken == 1)
    begun_s = time.monotonic()  # Nobody has measured this worker: UNKNOWN_S is expected of it.
    await in_time(lambda: time.monotonic() > begun_s + 2 * UNKNOWN_S)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (record,) = line.records
    assert (record.outcome, record.prompt_tokens) == ("client_gone", 3)
    assert (record.completion_tokens, record.charge_nano) == (8, 3 * 1_000 + 8 * 2_000)
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


HEAD = StreamPart(b"data: head\n\n", 0)


@pytest.mark.parametrize("begun", [[], [HEAD]])
async def test_a_client_that_leaves_a_stream_before_its_first_token_pays_for_its_workers_time(
    begun: list[StreamPart],
) -> None:
    line = Line(FakeUpstream(lambda _: [*begun, asyncio.Event()]))
    call = asyncio.create_task(line.call(stream=True))
    await until(lambda: line.slots_taken == 1)
    (attempt,) = (
        item for w in line.scheduler.fleet.workers.values() for item in w.inflight.values()
    )
    assert 0 < attempt.run.expected_first_s < attempt.run.expected_s
    until_s = time.monotonic() + attempt.run.expected_first_s
    await in_time(lambda: time.monotonic() > until_s)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (record,) = line.records
    assert (record.outcome, record.prompt_tokens) == ("client_gone", 3)
    # A token of the answer would have been seen.
    assert (record.completion_tokens, record.charge_nano) == (0, 3 * 1_000)
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_leaving_a_stream_that_waits_for_a_worker_costs_nothing() -> None:
    line = Line(FakeUpstream(lambda _: [asyncio.Event()]), catalog=snapshot(workers=1))
    running: list[asyncio.Task[FakeClient]] = []
    while not line.scheduler.waiting:
        running.append(asyncio.create_task(line.call(stream=True)))
        for _ in range(10):
            await asyncio.sleep(0)
    running[-1].cancel()
    await asyncio.wait(running[-1:])
    assert (line.records[0].outcome, line.records[0].charge_nano) == ("client_gone", 0)
    for call in running:
        call.cancel()
    await asyncio.wait(running)


@pytest.mark.parametrize(
    ("stream", "script"),
    [(False, asyncio.Event()), (True, [asyncio.Event()]), (True, [HEAD, asyncio.Event()])],
)
async def test_a_router_that_stops_cuts_calls_without_a_token_off_unbilled(
    stream: bool, script: asyncio.Event | list[object]
) -> None:
    line = Line(FakeUpstream(lambda _: script))  # type: ignore[arg-type,return-value]
    client = FakeClient()
    call = asyncio.create_task(line.call(stream=stream, client=client))
    await until(lambda: line.slots_taken == 1)
    if isinstance(script, list) and HEAD in script:
        await until(lambda: b"head" in client.body)
    line.gateway.stopping = True
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (record,) = line.records
    assert (record.outcome, record.http_status, record.charge_nano) == ("rejected", 503, 0)


async def test_a_call_that_waits_too_long_is_refused_unbilled() -> None:
    never = asyncio.Event()
    line = Line(
        FakeUpstream(lambda _: never),
        catalog=snapshot(workers=1),
        limits=Limits(queue_wait_s=0.02),
    )
    running = [asyncio.create_task(line.call()) for _ in range(FAST_ROOM)]
    await until(lambda: line.slots_taken == FAST_ROOM)
    with pytest.raises(QueueFull, match="too long"):
        await line.call()
    assert (line.records[0].outcome, line.records[0].charge_nano) == ("rejected", 0)
    assert line.records[0].error == "queue_full"
    for call in running:
        call.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_a_client_that_leaves_as_a_worker_comes_free_leaves_it_free() -> None:
    never = asyncio.Event()
    line = Line(FakeUpstream(lambda _: never), catalog=snapshot(workers=1))
    running = [asyncio.create_task(line.call()) for _ in range(FAST_ROOM)]
    await until(lambda: line.slots_taken == FAST_ROOM)
    waiting = asyncio.create_task(line.call())
    await until(lambda: line.scheduler.waiting == 1)
    # The slot goes to the call that waits before its task has run to say that nobody does.
    waiting.cancel()
    worker = line.scheduler.fleet.workers["one-0"]
    line.dispatcher.ended(next(iter(worker.inflight.values())), GIVEN_UP)
    for call in running:
        call.cancel()
    await asyncio.wait({waiting, *running})
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_max_tokens_is_clamped_to_the_models_limit() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    await line.call(max_tokens=999)
    small = Line(FakeUpstream(lambda _: ANSWER))
    await small.call(max_tokens=100)
    assert line.records[0].hold_nano == small.records[0].hold_nano


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"model": "a/none"}, ModelUnknown, "GET /v1/models .* POST /v1/predictions"),
        ({"model": "a/t"}, RequestInvalid, "tabular"),
        ({"provider": {"only": ["west"]}}, NothingEligible, "provider wishes"),
    ],
)
async def test_what_cannot_be_planned_is_refused(fields: dict, error: type, says: str) -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    with pytest.raises(error, match=says):
        await line.call(**fields)
    assert line.records == []


async def test_providers_can_be_chosen_and_avoided() -> None:
    upstream = FakeUpstream(lambda _: ANSWER)
    line = Line(upstream)
    await line.call(provider={"only": ["south"]})
    await line.call(provider={"ignore": ["north"]})
    assert upstream.called == ["two-0", "two-0"]
    assert "not_wanted" in {c.verdict for c in line.records[0].candidates}


@pytest.mark.parametrize("catalog", [snapshot(draining=True), snapshot(healthy=False)])
async def test_workers_that_drain_or_are_down_get_nothing(catalog) -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)
    with pytest.raises(NothingEligible) as refused:
        await line.call()
    assert refused.value.retry_after_s


async def test_a_model_whose_workers_could_not_be_started_says_so() -> None:
    reason = "the engine cannot start: libgomp.so.1 is missing"
    whole = snapshot()
    out = [
        structs.replace(w, left_out=reason) if w.protocol == "openai" else w for w in whole.workers
    ]
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=structs.replace(whole, workers=tuple(out)))
    with pytest.raises(NothingEligible, match=f"is not available here: {reason}") as no:
        await line.call()
    # To try again would not help.
    assert no.value.retry_after_s is None
    listed = msgspec.json.decode(model_list(line.gateway.table, Grant(1, Purse(7))))
    assert [model["id"] for model in listed["data"]] == ["a/t"]

    one = (structs.replace(whole.workers[0], left_out=reason), *whole.workers[1:])
    line = Line(
        upstream := FakeUpstream(lambda _: ANSWER), catalog=structs.replace(whole, workers=one)
    )
    await line.call(provider={"only": ["north"]})
    assert upstream.called == ["one-1"]


async def test_a_key_with_an_allow_list_reaches_nothing_else() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    grant = Grant(organisation_id=1, purse=Purse(7), models=("a/other",))
    with pytest.raises(NotAllowed):
        await line.gateway.serve(grant, chat(), FakeClient())


async def test_a_stream_that_never_ends_is_cut_off_and_what_was_delivered_is_billed() -> None:
    upstream = FakeUpstream(lambda _: [*TOKENS, asyncio.Event()])
    line = Line(upstream, limits=Limits(stream_max_s=0.05))
    client = await line.call(stream=True)
    assert client.body == b"data: one\n\ndata: two\n\n"
    assert (client.ended_by, upstream.closed, len(upstream.called)) == ("stream_too_long", 1, 1)
    (record,) = line.records
    assert (record.outcome, record.completion_tokens) == ("truncated", 2)
    assert record.charge_nano > 0
    assert record.attempts[0].outcome == "client_gone"  # No fault of the worker.
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_a_stream_that_never_begins_is_given_up_unbilled() -> None:
    line = Line(FakeUpstream(lambda _: [asyncio.Event()]), limits=Limits(stream_max_s=0.05))
    with pytest.raises(WorkerFailed, match=r"within 0\.05 s"):
        await line.call(stream=True)
    assert line.records[0].charge_nano == 0
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)
