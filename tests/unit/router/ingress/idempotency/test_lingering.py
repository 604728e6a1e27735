"""Calls that go on without their clients."""

import asyncio

import pytest

from router.ports.upstream import StreamPart, UpstreamFailed
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.idempotency.asking import (
    ANSWER,
    CHAT,
    EVENT,
    PATH,
    headers,
    leave,
    session,
)
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import USED, FakeUpstream, Line, in_time

STREAM = {**CHAT, "stream": True}
LAST = StreamPart(EVENT, 1, USED, "stop", done=True)


def lingering(seconds: str = "60") -> dict[str, str]:
    return headers() | {"x-route-linger-s": seconds}


async def test_a_lingering_call_answers_those_who_ask_again_and_is_charged_once() -> None:
    gate = asyncio.Event()
    upstream = FakeUpstream(lambda _: [StreamPart(EVENT, 1), gate, LAST])
    line = Line(upstream)
    sent = lingering()
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        first = asyncio.ensure_future(client.post(PATH, json=STREAM, headers=sent))
        await in_time(lambda: bool(upstream.called))
        await leave(first)
        waiting = await client.post(PATH, json=STREAM, headers=sent)
        gate.set()
        await in_time(lambda: bool(line.records))
        again = await client.post(PATH, json=STREAM, headers=sent)
        while again.status_code == 409:  # It is charged a moment before its answer is kept.
            again = await client.post(PATH, json=STREAM, headers=sent)
    assert waiting.json()["error"]["code"] == "idempotency_in_flight"
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content.endswith(b"data: [DONE]\n\n")
    assert [record.outcome for record in line.records] == ["completed"]


async def test_a_call_lingers_no_longer_than_it_was_told_to() -> None:
    upstream = FakeUpstream(lambda _: [StreamPart(EVENT, 1), asyncio.Event()])
    line = Line(upstream)
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        first = asyncio.ensure_future(client.post(PATH, json=STREAM, headers=lingering("1")))
        await in_time(lambda: bool(upstream.called))
        await leave(first)
        await in_time(lambda: bool(line.records))
    assert [record.outcome for record in line.records] == ["client_gone"]
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_a_call_that_lingers_ends_when_its_client_says_so() -> None:
    upstream = FakeUpstream(lambda _: [StreamPart(EVENT, 1), asyncio.Event()])
    line = Line(upstream)
    sent = lingering()
    cancel = sent | {"x-route-cancel": "1"}
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        first = asyncio.ensure_future(client.post(PATH, json=STREAM, headers=sent))
        await in_time(lambda: bool(upstream.called))
        await leave(first)
        ended = await client.post(PATH, json=STREAM, headers=cancel)
        await in_time(lambda: bool(line.records))
        await in_time(lambda: line.slots_taken == 0)
        nothing = await client.post(PATH, json=STREAM, headers=cancel)
    assert (ended.json(), nothing.json()) == ({"cancelled": True}, {"cancelled": False})
    assert [record.outcome for record in line.records] == ["client_gone"]
    assert line.unresolved_nano == 0


async def test_nobody_ends_anothers_call() -> None:
    upstream = FakeUpstream(lambda _: [StreamPart(EVENT, 1), asyncio.Event()])
    sent = headers() | {"x-route-linger-s": "60"}
    other = sent | {"authorization": f"Bearer {session(1, 8)}", "x-route-cancel": "1"}
    async with calling(Line(upstream)) as client, asyncio.timeout(PATIENCE_S):
        first = asyncio.ensure_future(client.post(PATH, json=STREAM, headers=sent))
        await in_time(lambda: bool(upstream.called))
        refused = await client.post(PATH, json=STREAM, headers=other)
        await leave(first)
        await client.post(PATH, json=STREAM, headers=sent | {"x-route-cancel": "1"})
    assert refused.json() == {"cancelled": False}


async def test_beyond_the_bound_a_call_ends_as_its_client_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.ingress.idempotency.LINGERING_MAX", 0)
    upstream = FakeUpstream(lambda _: [StreamPart(EVENT, 1), asyncio.Event()])
    line = Line(upstream)
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        first = asyncio.ensure_future(client.post(PATH, json=STREAM, headers=lingering()))
        await in_time(lambda: bool(upstream.called))
        await leave(first)
        await in_time(lambda: bool(line.records))
    assert [record.outcome for record in line.records] == ["client_gone"]


@pytest.mark.parametrize("seconds", ["0", "-1", "601", "1.5", "soon", "9" * 40, "1" * 10])
async def test_a_time_that_cannot_be_lingered_is_refused(seconds: str) -> None:
    async with calling(Line(FakeUpstream(lambda _: ANSWER))) as client:
        refused = await client.post(PATH, json=CHAT, headers=lingering(seconds))
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "x-route-linger-s"


async def test_a_call_that_lingers_and_whose_client_stays_is_as_any() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with calling(line) as client:
        answered = await client.post(PATH, json=CHAT, headers=lingering())
    assert answered.status_code == 200
    failing = Line(FakeUpstream(lambda _: UpstreamFailed("reset")))
    async with calling(failing) as client:
        failed = await client.post(PATH, json=CHAT, headers=lingering())
    assert failed.status_code == 502
