"""The record of a call: its times, the places that were considered, and every attempt once."""

import asyncio
import time
from collections import Counter

import pytest
from msgspec import structs

from router.contracts.record import UsageRecord
from router.domain.catalog import Endpoint, Policy
from router.domain.errors import NothingEligible, WorkerFailed
from router.domain.money import Purse
from router.domain.outcome import Outcome
from router.domain.request import InferenceRequest
from router.metering.lease import Hold
from router.pipeline.plans.plan import make_plan
from router.pipeline.plans.routing_table import Grant, build_table
from router.pipeline.settlement.settle import CallAccount
from router.pipeline.settlement.trace import Trace
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    COST_NANO,
    KEY,
    NOTHING_LEARNED,
    PRICE,
    USED,
    FakeClient,
    FakeUpstream,
    Line,
    chat,
    snapshot,
    until,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
TOKEN = StreamPart(b"data: one\n\n", 1)
FAST_ROOM = 5
"""Four slots of the fast worker and the credit; the slow one is worth no ticket's while."""


async def recorded(outcome: Outcome, *, placed_s: float, first_byte_s: float) -> UsageRecord:
    """Of a call that arrived ten seconds ago, and got so far after so many seconds."""
    arrived_s = time.monotonic() - 10
    request = structs.replace(chat(), arrived_s=arrived_s)
    plan = make_plan(
        build_table(snapshot()),
        Grant(1, Purse(7)),
        request,
        holding=NOTHING_LEARNED,
        hardware_max_s=60.0,
    )
    trace = Trace(request)
    if placed_s:
        trace.endpoint = plan.endpoints[0]
        trace.placed_s = arrived_s + placed_s
    if first_byte_s:
        trace.first_byte_s = arrived_s + first_byte_s
    kept: list[UsageRecord] = []
    account = CallAccount(
        plan,
        Hold("", Purse(7), plan.hold_nano),
        trace,
        router_id="r",
        release=lambda *_: None,
        keep=kept.append,
        checkpoint=kept.append,
        raised=lambda *_: None,
        unpaid=Counter(),
    )
    account.resolve(outcome, 200)
    account.resolve(Outcome.CLIENT_GONE, 499)
    (record,) = kept
    return record


async def test_its_times_are_milliseconds_from_its_arrival() -> None:
    record = await recorded(Outcome.COMPLETED, placed_s=2.5, first_byte_s=4.25)
    assert (record.queue_ms, record.ttft_ms) == (2_500.0, 4_250.0)
    assert 7_500 <= record.upstream_ms < 60_000
    assert record.total_ms == pytest.approx(record.upstream_ms + 2_500, abs=0.002)


async def test_it_names_who_served_and_at_which_price() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    await line.call()
    (record,) = line.records
    assert (record.account_id, record.organisation_id, record.key_id) == (ACCOUNT, 1, 5)
    assert (record.deployment_id, record.price_id, record.provider_account_id) == (1, PRICE.id, 21)
    assert (record.worker_id, record.pool, record.model, record.kind) == (
        "one-0",
        "one",
        "a/m",
        "chat",
    )
    assert (record.charge_nano, record.commission_nano) == (COST_NANO, COST_NANO // 10)
    assert record.hold_nano >= record.charge_nano
    assert (record.prompt_tokens, record.completion_tokens) == (10, 4)
    assert (record.finish_reason, record.http_status, record.streamed) == ("stop", 200, False)


async def test_an_explained_route_has_the_times_of_its_record() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    client = FakeClient()
    request = structs.replace(chat(explain=True), arrived_s=asyncio.get_running_loop().time() - 0.5)
    await line.gateway.serve(line.gateway.authenticate(f"Bearer {KEY}"), request, client)
    (record,) = line.records
    route = client.report
    assert 500 <= record.queue_ms <= record.ttft_ms <= record.total_ms
    exactly = {"abs": 0.002}  # The record counts whole microseconds.
    assert route["queue_ms"] == pytest.approx(record.queue_ms, **exactly)
    assert route["ttft_ms"] == pytest.approx(record.ttft_ms, **exactly)
    # A whole answer is there with its first byte.
    assert route["total_ms"] == pytest.approx(record.ttft_ms, **exactly)
    assert route["upstream_ms"] == pytest.approx(record.ttft_ms - record.queue_ms, **exactly)
    assert record.attempts[-1].queue_ms == pytest.approx(record.queue_ms, **exactly)
    assert 0 <= record.attempts[-1].upstream_ms <= record.upstream_ms + 0.002
    assert client.headers["x-route-queue-ms"] == f"{route['queue_ms']:.2f}"


async def test_a_call_that_was_placed_nowhere_names_no_place() -> None:
    record = await recorded(Outcome.REJECTED, placed_s=0, first_byte_s=0)
    assert (record.queue_ms, record.ttft_ms, record.upstream_ms) == (0.0, 0.0, 0.0)
    assert record.total_ms >= 10_000
    assert (record.deployment_id, record.price_id, record.provider_account_id) == (0, 0, 0)
    assert (record.worker_id, record.pool, record.charge_nano) == ("", "", 0)


async def test_a_place_that_could_not_be_used_has_its_reason_and_no_figures() -> None:
    workers = snapshot(healthy=False).workers
    line = Line(FakeUpstream(lambda _: ANSWER))
    mixed = (*snapshot().workers[:1], *workers[1:])
    line.gateway.use(build_table(structs.replace(snapshot(), version=2, workers=mixed)))
    await line.call()
    candidates = {c.worker_id: c for c in line.records[0].candidates}
    assert candidates["one-0"].verdict == "chosen"
    for worker_id in ("one-1", "two-0"):
        lost = candidates[worker_id]
        assert (lost.verdict, lost.wait_ms, lost.service_ms, lost.score) == ("unhealthy", 0, 0, 0)


@pytest.mark.parametrize(
    ("wishes", "kind", "penalties_ms"),
    [
        ({"order": ["south"]}, "late_binding", (5_000.0, 5_000.0, 0.0)),
        ({"preferred_max_latency": 1e-9}, "late_binding", (10_000.0, 10_000.0, 10_000.0)),
        ({"preferred_max_latency": 1e9}, "late_binding", (0.0, 0.0, 0.0)),
        # These score otherwise: by the call's own wish, and by a policy that knows of none.
        ({"order": ["south"], "sort": "throughput"}, "late_binding", (0.0, 0.0, 0.0)),
        ({"order": ["south"]}, "round_robin", (0.0, 0.0, 0.0)),
    ],
)
async def test_what_wishes_add_to_a_score_is_on_record(
    wishes: dict[str, object], kind: str, penalties_ms: tuple[float, ...]
) -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    policies = (Policy(id=1, version=1, model="a/m", kind=kind),)
    line.gateway.use(build_table(structs.replace(snapshot(), version=2, policies=policies)))
    request = chat(provider=wishes)
    await line.gateway.serve(line.gateway.authenticate(f"Bearer {KEY}"), request, FakeClient())
    candidates = {c.worker_id: c for c in line.records[0].candidates}
    told_ms = tuple(candidates[id_].penalty_ms for id_ in ("one-0", "one-1", "two-0"))
    assert told_ms == penalties_ms
    if kind == "late_binding" and "sort" not in wishes:
        assert candidates["one-0"].score >= penalties_ms[0] / 1e3


@pytest.mark.parametrize(
    ("steps", "attempts"),
    [
        ([TOKEN, UpstreamFailed("reset")], ["truncated:reset"]),
        ([UpstreamFailed("reset")], ["worker_failed:reset"] * 3),
    ],
)
async def test_every_attempt_that_failed_is_on_record_once(
    steps: list[StreamPart | Exception], attempts: list[str]
) -> None:
    line = Line(FakeUpstream(lambda _: list(steps)))
    client = FakeClient()
    try:
        await line.call(stream=True, client=client)
    except WorkerFailed:
        assert not client.ended
    (record,) = line.records
    assert [attempt.outcome for attempt in record.attempts] == attempts
    assert len({attempt.worker_id for attempt in record.attempts}) == len(attempts)


async def test_a_caller_that_leaves_ends_one_attempt() -> None:
    line = Line(FakeUpstream(lambda _: [TOKEN, asyncio.Event()]))
    client = FakeClient()
    call = asyncio.create_task(line.call(stream=True, client=client))
    await until(lambda: bool(client.body))
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert [attempt.outcome for attempt in line.records[0].attempts] == ["client_gone"]


async def test_a_call_that_nothing_may_serve_leaves_no_record() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=snapshot(healthy=False))
    with pytest.raises(NothingEligible):
        await line.call()
    assert line.records == []


@pytest.mark.parametrize("emulated", [False, True])
async def test_an_emulated_answer_says_so(emulated: bool) -> None:
    base = snapshot()
    pools = tuple(structs.replace(pool, emulated=emulated) for pool in base.pools)
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=structs.replace(base, pools=pools))
    client = await line.call()
    assert client.headers.get("x-route-emulated") == ("true" if emulated else None)


async def test_a_call_can_be_asked_about_once_it_has_ended() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    await line.call()
    (record,) = line.records
    assert line.recent.get(record.request_id) == record
    assert line.recent.get("another") is None


class Held(FakeUpstream):
    """Answers once the gate is open."""

    def __init__(self) -> None:
        super().__init__(lambda _: ANSWER)
        self.gate = asyncio.Event()

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        await self.gate.wait()
        return await super().answer(request, endpoint)


async def test_what_calls_are_told_as_they_begin_to_wait_is_on_their_records() -> None:
    upstream = Held()
    line = Line(upstream, catalog=snapshot(workers=1))
    grant = line.gateway.authenticate(f"Bearer {KEY}")
    clients = [FakeClient() for _ in range(FAST_ROOM + 2)]
    calls = [
        asyncio.create_task(
            line.gateway.serve(grant, structs.replace(chat(explain=True), id=f"c{n}"), client)
        )
        for n, client in enumerate(clients)
    ]
    await until(lambda: line.gateway.waiting == 2)
    upstream.gate.set()
    await asyncio.wait(calls)
    received = {record.request_id: record for record in line.records}
    assert [received[f"c{n}"].place for n in range(len(calls))] == [0] * FAST_ROOM + [1, 2]
    first, second = (received[f"c{n}"].eta_ms for n in (FAST_ROOM, FAST_ROOM + 1))
    assert 0 < first < second
    assert received["c0"].eta_ms == 0
    last = clients[-1]
    assert (last.headers["x-route-place"], last.report["place"]) == ("2", 2)
    assert float(last.headers["x-route-eta-ms"]) == pytest.approx(second, abs=0.5)
    assert "x-route-place" not in clients[0].headers
    assert clients[0].report["place"] is None
