"""What is held for a call bounds what it costs, and what a stream has delivered is journalled."""

import asyncio

import pytest
from msgspec import structs

from router.domain.errors import (
    CreditExhausted,
)
from router.domain.pricing import Price
from router.pipeline.holds.holding import OPEN_ENDED_TOKENS
from router.pipeline.settlement.cover import HOLD_SLACK_TOKENS
from router.ports.upstream import Answer, StreamPart
from tests.unit.router.pipeline.line import (
    ANSWER,
    COST_NANO,
    LAST,
    USED,
    FakeClient,
    FakeUpstream,
    Line,
    snapshot,
    until,
)


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
