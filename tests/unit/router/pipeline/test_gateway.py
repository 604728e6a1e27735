"""Every way a call can end: who is billed, what the client sees, and that nothing leaks."""

import asyncio
import itertools
import json
import time

import msgspec
import pytest
from msgspec import structs

from router.contracts.record import encode_record
from router.domain.errors import (
    CreditExhausted,
    ModelUnknown,
    NotAllowed,
    NothingEligible,
    QueueFull,
    RequestFailed,
    RequestInvalid,
    WorkerFailed,
    WorkerRefused,
)
from router.domain.money import Purse
from router.domain.pricing import Price
from router.ingress.listing import model_list
from router.pipeline.holds.holding import OPEN_ENDED_TOKENS
from router.pipeline.plans.routing_table import Grant
from router.pipeline.settlement.cover import HOLD_SLACK_TOKENS
from router.ports.upstream import Answer, StreamPart, UpstreamFailed, UpstreamRefused
from router.scheduling.attempts.endings import GIVEN_UP
from router.scheduling.estimates.estimate import UNKNOWN_S
from router.settings import Limits
from tests.unit.router.pipeline.line import (
    COST_NANO,
    USED,
    FakeClient,
    FakeUpstream,
    Line,
    chat,
    in_time,
    snapshot,
    until,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
TOKENS = [StreamPart(b"data: one\n\n", 1), StreamPart(b"data: two\n\n", 1)]
LAST = StreamPart(b"data: end\n\n", 0, USED, "stop", done=True)
BROKEN = UpstreamFailed("reset")
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
    assert record.commission_nano == COST_NANO // 10
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


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


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_byte_goes_to_another_worker(stream: bool) -> None:
    fine: list[object] | Answer = [*TOKENS, LAST] if stream else ANSWER
    upstream = FakeUpstream(lambda e: BROKEN if e.worker.id == "one-0" else fine)
    line = Line(upstream)
    client = await line.call(stream=stream)
    assert upstream.called == ["one-0", "one-1"]
    assert client.headers["x-route-attempts"] == "2"
    (record,) = line.records
    assert [a.outcome for a in record.attempts] == ["worker_failed:reset", "completed"]
    assert record.charge_nano == COST_NANO
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_when_every_worker_fails_nothing_is_billed(stream: bool) -> None:
    line = Line(FakeUpstream(lambda _: BROKEN))
    with pytest.raises(WorkerFailed, match="after 3 attempts"):
        await line.call(stream=stream)
    assert (line.records[0].outcome, line.records[0].charge_nano) == ("worker_failed", 0)
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_a_failure_after_the_first_byte_is_told_and_what_was_delivered_is_billed() -> None:
    line = Line(FakeUpstream(lambda _: [*TOKENS, BROKEN]))
    client = await line.call(stream=True)
    assert client.body == b"data: one\n\ndata: two\n\n"
    assert (client.ended, client.ended_by) == (True, "worker_failed")
    (record,) = line.records
    assert (record.outcome, record.completion_tokens) == ("truncated", 2)
    assert record.charge_nano > 0
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


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


async def test_a_refused_request_is_not_tried_again_and_not_billed() -> None:
    upstream = FakeUpstream(lambda _: UpstreamRefused(400, "context too long"))
    line = Line(upstream)
    with pytest.raises(WorkerRefused, match="context too long"):
        await line.call()
    assert len(upstream.called) == 1
    assert (line.records[0].outcome, line.records[0].charge_nano) == ("refused", 0)
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_what_all_workers_fail_on_alike_is_the_requests_doing() -> None:
    upstream = FakeUpstream(lambda _: UpstreamFailed("http_500"))
    line = Line(upstream)
    with pytest.raises(RequestFailed, match="3 workers failed on this request in the same way"):
        await line.call()
    (record,) = line.records
    assert (record.outcome, record.http_status, record.charge_nano) == ("refused", 502, 0)
    assert [attempt.outcome for attempt in record.attempts] == ["refused:http_500"] * 3
    assert all(line.histories.of(item).uptime(1) is None for item in (1, 2))


async def test_one_tenants_requests_eject_nobody_however_many_they_are() -> None:
    upstream = FakeUpstream(lambda _: UpstreamFailed("http_500"))
    line = Line(upstream)
    for _ in range(50):
        with pytest.raises(WorkerFailed):
            await line.call()
    workers = line.scheduler.fleet.workers.values()
    assert not any(worker.ejection.is_ejected for worker in workers)
    upstream.script = lambda _: ANSWER
    for _ in range(50):
        await line.call()
    assert all((line.histories.of(item).uptime(1) or 1) > 0.9 for item in (1, 2))


async def test_a_doubt_is_decided_by_a_probe() -> None:
    line = Line(FakeUpstream(lambda _: UpstreamFailed("http_500")))
    with pytest.raises(WorkerFailed):
        await line.call()
    await in_time(lambda: len(set(line.upstream.probed)) == 3)


async def test_a_worker_that_cannot_answer_what_another_can_is_ejected() -> None:
    line = Line(
        FakeUpstream(lambda e: ANSWER if e.worker.id == "two-0" else UpstreamFailed("http_500"))
    )
    for _ in range(10):
        await line.call()
    states = line.scheduler.fleet.workers
    assert all(states[item].ejection.is_ejected for item in set(line.upstream.called) - {"two-0"})
    assert len(line.upstream.called) < 16


async def test_what_two_workers_fail_on_in_other_ways_is_theirs() -> None:
    reasons = itertools.cycle(["http_500", "bad_json"])
    line = Line(FakeUpstream(lambda _: UpstreamFailed(next(reasons))))
    with pytest.raises(WorkerFailed) as failed:
        await line.call()
    assert type(failed.value) is WorkerFailed
    assert line.records[0].outcome == "worker_failed"


async def test_unreachable_workers_are_at_fault_for_every_caller() -> None:
    line = Line(FakeUpstream(lambda _: UpstreamFailed("connect")))
    for _ in range(2):
        with pytest.raises(WorkerFailed) as failed:
            await line.call()
        assert type(failed.value) is WorkerFailed
    assert all(
        worker.ejection.is_ejected
        for worker in line.scheduler.fleet.workers.values()
        if worker.id in line.upstream.called
    )


async def test_a_fault_of_ours_is_not_billed() -> None:
    line = Line(FakeUpstream(lambda _: ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await line.call()
    assert (line.records[0].http_status, line.records[0].charge_nano) == (500, 0)
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


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


async def test_a_worker_that_is_only_full_is_not_held_to_be_broken() -> None:
    full = UpstreamFailed("http_429", is_fault=False)
    line = Line(FakeUpstream(lambda e: full if e.worker.id == "one-0" else ANSWER))
    for _ in range(3):
        await line.call()
    assert line.scheduler.fleet.workers["one-0"].ejection.consecutive_failures == 0


async def test_without_credit_nothing_runs() -> None:
    upstream = FakeUpstream(lambda _: ANSWER)
    line = Line(upstream, funds_nano=10)
    with pytest.raises(CreditExhausted, match="add credit"):
        await line.call()
    assert (upstream.called, line.records) == ([], [])


async def test_usage_beyond_the_hold_is_never_charged() -> None:
    greedy = Answer(ANSWER.body, "application/json", USED.__class__(completion_tokens=10**6))
    line = Line(FakeUpstream(lambda _: greedy))
    await line.call()
    (record,) = line.records
    assert record.charge_nano == record.hold_nano
    assert line.unresolved_nano == 0


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


async def test_a_stream_is_journalled_as_it_goes() -> None:
    many = [StreamPart(b"data: x\n\n", 1)] * 200
    line = Line(FakeUpstream(lambda _: [*many, LAST]))
    await line.call(stream=True, max_tokens=100, n=3)
    assert [checkpoint.completion_tokens for checkpoint in line.checkpoints] == [65, 130, 195]
    assert {checkpoint.outcome for checkpoint in line.checkpoints} == {"interrupted"}
    first, *_, last = line.checkpoints
    assert first.request_id == last.request_id == line.records[0].request_id
    assert 0 < first.charge_nano < last.charge_nano <= last.hold_nano
    assert line.records[0].outcome == "completed"


async def test_a_client_never_has_more_than_64_tokens_that_are_not_journalled() -> None:
    sizes = [60, 8, 1, 64, 1, 200, 3, 61, 90]
    parts = [StreamPart(b"data: x\n\n" * size, size) for size in sizes]
    line = Line(FakeUpstream(lambda _: [*parts, LAST]))
    unjournalled: list[int] = []

    class Watching(FakeClient):
        async def send(self, data: bytes) -> None:
            await super().send(data)
            journalled = line.checkpoints[-1].completion_tokens if line.checkpoints else 0
            unjournalled.append(self.body.count(b"data: x") - journalled)

    await line.call(client=Watching(), stream=True, max_tokens=100, n=6)
    assert len(unjournalled) >= len(sizes)
    assert 0 < max(unjournalled) <= 64


async def test_a_stream_ends_when_its_hold_is_used_up() -> None:
    many = [StreamPart(b"data: x\n\n", 1)] * 50
    upstream = FakeUpstream(lambda _: [*many, LAST])
    line = Line(upstream)
    client = await line.call(stream=True, max_tokens=8)
    assert client.body == b"data: x\n\n" * (8 + HOLD_SLACK_TOKENS + 1)
    assert client.ended_by == "hold_used_up"
    (record,) = line.records
    assert (record.outcome, record.http_status) == ("truncated", 200)
    assert 0 < record.charge_nano <= record.hold_nano
    assert upstream.closed == 1
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


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


async def test_a_stream_that_costs_nothing_is_as_long_as_it_likes() -> None:
    base = snapshot()
    free = tuple(structs.replace(deployment, price=Price(9)) for deployment in base.deployments)
    many = [StreamPart(b"data: x\n\n", 1)] * 50
    line = Line(
        FakeUpstream(lambda _: [*many, LAST]), catalog=structs.replace(base, deployments=free)
    )
    client = await line.call(stream=True, max_tokens=8)
    assert client.ended_by == ""
    assert (line.records[0].outcome, line.records[0].charge_nano) == ("completed", 0)


async def test_a_worker_is_stopped_at_its_hold_before_a_slow_client_has_heard_of_it() -> None:
    class Slow(FakeClient):
        async def end_stream(self, last: bytes = b"") -> None:
            await asyncio.Event().wait()

    upstream = FakeUpstream(lambda _: [StreamPart(b"data: x\n\n", 1)] * 50)
    line = Line(upstream)
    call = asyncio.create_task(line.call(client=Slow(), stream=True))
    await until(lambda: bool(line.records))
    assert (upstream.closed, line.slots_taken) == (1, 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [attempt.outcome for attempt in line.records[0].attempts] == ["client_gone"]


async def test_credit_is_held_for_an_answer_that_nobody_bounds() -> None:
    made = snapshot()
    models = (structs.replace(made.models[0], completion_tokens_max=0),)
    line = Line(
        FakeUpstream(lambda _: ANSWER),
        catalog=structs.replace(made, models=models),
        funds_nano=10**12,
    )
    await line.call(max_tokens=None)
    (record,) = line.records
    assert record.hold_nano > OPEN_ENDED_TOKENS * 2_000
    assert record.charge_nano == COST_NANO
