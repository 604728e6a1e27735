"""``Idempotency-Key``: the same request twice is one call."""

import asyncio

import pytest
from msgspec import structs

from router.domain.catalog import ApiKey
from router.domain.keys import digest_key
from router.ports.upstream import StreamPart, UpstreamFailed
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.idempotency.asking import ANSWER, CHAT, EVENT, PATH, headers, session
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import ACCOUNT, KEY, PEPPER, USED, FakeUpstream, Line, snapshot


async def test_the_second_of_two_is_answered_as_the_first_and_costs_nothing() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    sent = headers()
    async with calling(line) as client:
        first = await client.post(PATH, json=CHAT, headers=sent)
        second = await client.post(PATH, json=CHAT, headers=sent)
    assert second.content == first.content
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert second.headers["x-request-id"] == first.headers["x-request-id"]
    assert len(line.records) == 1


async def test_a_stream_is_given_again_whole() -> None:
    steps = [StreamPart(EVENT, 1), StreamPart(EVENT, 1, USED, "stop", done=True)]
    line = Line(FakeUpstream(lambda _: list(steps)))
    sent = headers()
    async with calling(line) as client:
        first = await client.post(PATH, json={**CHAT, "stream": True}, headers=sent)
        second = await client.post(PATH, json={**CHAT, "stream": True}, headers=sent)
    assert first.content.endswith(b"data: [DONE]\n\n")
    assert second.content == first.content
    assert second.headers["content-type"].startswith("text/event-stream")
    assert len(line.records) == 1


async def test_another_request_under_the_key_is_refused() -> None:
    sent = headers()
    async with calling(Line(FakeUpstream(lambda _: ANSWER))) as client:
        await client.post(PATH, json=CHAT, headers=sent)
        refused = await client.post(PATH, json={**CHAT, "temperature": 1}, headers=sent)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "idempotency_mismatch"


async def test_the_same_body_for_another_api_is_another_request() -> None:
    """Both dialects of chat take it, and answer in their own."""
    body = {**CHAT, "max_tokens": 5}
    sent = headers()
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with calling(line) as client:
        first = await client.post(PATH, json=body, headers=sent)
        refused = await client.post("/v1/messages", json=body, headers=sent)
        own_key = await client.post("/v1/messages", json=body, headers=headers())
    assert (first.status_code, own_key.status_code) == (200, 200)
    assert refused.status_code == 422
    assert "Idempotency-Key" in refused.json()["error"]["message"]
    assert len(line.records) == 2


async def test_a_key_is_its_callers_own() -> None:
    """Two members, two API keys and two organisations may each use the same one."""
    other = "wp_live_other"
    keys = (*snapshot().keys, ApiKey(6, digest_key(other, PEPPER), 1, ACCOUNT))
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=structs.replace(snapshot(), keys=keys))
    callers = [session(1, 8), session(1, 9), session(2, 8), KEY, other]
    async with calling(line) as client:
        for _ in range(2):
            answers = [
                await client.post(PATH, json=CHAT, headers=headers("same", caller))
                for caller in callers
            ]
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == ["true"] * 5
    assert len({answer.headers["x-request-id"] for answer in answers}) == 5
    assert len(line.records) == 5


async def test_while_the_first_runs_the_second_is_told_to_wait() -> None:
    gate, asked = asyncio.Event(), asyncio.Event()

    def script(_: object) -> asyncio.Event:
        asked.set()
        return gate

    line = Line(FakeUpstream(script))
    sent = headers()
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        first = asyncio.ensure_future(client.post(PATH, json=CHAT, headers=sent))
        await asked.wait()
        second = await client.post(PATH, json=CHAT, headers=sent)
        first.cancel()
        assert second.status_code == 409
        assert int(second.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("outcomes", "limits"),
    [
        ([UpstreamFailed("reset"), UpstreamFailed("reset"), UpstreamFailed("reset")], Limits()),
        ([[StreamPart(EVENT, 1), UpstreamFailed("reset")]], Limits()),
        ([ANSWER], Limits(idempotent_bytes_max=5)),
    ],
)
async def test_what_failed_broke_off_or_is_too_large_runs_again(
    outcomes: list[object], limits: Limits
) -> None:
    script = iter(outcomes)
    line = Line(FakeUpstream(lambda _: next(script, ANSWER)))
    body = {**CHAT, "stream": isinstance(outcomes[0], list)}
    sent = headers()
    async with calling(line, limits) as client:
        await client.post(PATH, json=body, headers=sent)
        script = iter([[StreamPart(EVENT, 1, USED, "stop", done=True)]] if body["stream"] else [])
        again = await client.post(PATH, json=body, headers=sent)
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers
    assert len(line.records) == 2


async def test_a_key_that_is_no_text_is_refused() -> None:
    async with calling(Line(FakeUpstream(lambda _: ANSWER))) as client:
        refused = await client.post(PATH, json=CHAT, headers=headers("x" * 256))
    assert refused.status_code == 422
