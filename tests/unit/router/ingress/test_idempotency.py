"""``Idempotency-Key``: the same request twice is one call."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from msgspec import structs

from router.adapters.memory import MemoryIdempotencyStore
from router.domain.catalog import ApiKey
from router.domain.errors import LedgerUnavailable
from router.domain.keys import SessionClaims, digest_key, sign_session
from router.ports.idempotency import Claim, Claimant, ClaimState
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    KEY,
    PEPPER,
    USED,
    FakeUpstream,
    Line,
    Step,
    in_time,
    snapshot,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def headers(key: str | None = None, credential: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}", "idempotency-key": key or str(uuid4())}


def session(organisation_id: int, user_id: int) -> str:
    """A token of a member who is signed in for the next minutes."""
    claims = SessionClaims(organisation_id, ACCOUNT, user_id, expires_at_s=2**40)
    return sign_session(claims, PEPPER)


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


async def test_a_call_keeps_its_key_for_as_long_as_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, claimed = asyncio.Event(), list[Claimant]()
    claim = MemoryIdempotencyStore.claim

    async def counted(store: MemoryIdempotencyStore, claimant: Claimant, *args: object) -> Claim:
        claimed.append(claimant)
        return await claim(store, claimant, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryIdempotencyStore, "claim", counted)
    steps: list[Step] = [gate, StreamPart(EVENT, 1, USED, "stop", done=True)]
    line = Line(FakeUpstream(lambda _: steps))
    sent, body = headers(), {**CHAT, "stream": True}
    async with (
        calling(line, Limits(idempotency_claim_s=0.3)) as client,
        asyncio.timeout(PATIENCE_S),
    ):
        first = asyncio.ensure_future(client.post(PATH, json=body, headers=sent))
        await in_time(lambda: len(claimed) > 5)  # Longer than a claim that is not renewed holds.
        second = await client.post(PATH, json=body, headers=sent)
        gate.set()
        answered = await first
        again = await client.post(PATH, json=body, headers=sent)
    assert second.json()["error"]["code"] == "idempotency_in_flight"
    assert answered.content.endswith(b"data: [DONE]\n\n")
    assert again.headers["idempotent-replayed"] == "true"
    assert len(line.records) == 1


async def test_a_call_that_lost_its_key_to_another_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its router stood still: what the other one answers is charged, and this one no more."""
    claim = MemoryIdempotencyStore.claim
    taken = list[Claimant]()

    async def overtaken(store: MemoryIdempotencyStore, claimant: Claimant, *args: object) -> Claim:
        if claimant in taken:
            return Claim(ClaimState.RUNNING)
        taken.append(claimant)
        return await claim(store, claimant, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryIdempotencyStore, "claim", overtaken)
    upstream = FakeUpstream(lambda _: asyncio.Event())
    line = Line(upstream)
    async with calling(line, Limits(idempotency_claim_s=0.03)) as client:
        ended = await client.post(PATH, json=CHAT, headers=headers())
    assert ended.status_code == 409
    assert (upstream.closed, line.records[0].outcome) == (1, "client_gone")
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_an_answer_is_kept_once_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.ingress.idempotency.END_S", 0.01)
    keep, tries = MemoryIdempotencyStore.keep, list[object]()

    async def away_once(store: MemoryIdempotencyStore, *args: object) -> None:
        tries.append(args)
        if len(tries) < 3:
            raise LedgerUnavailable("away")
        await keep(store, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryIdempotencyStore, "keep", away_once)
    line = Line(FakeUpstream(lambda _: ANSWER))
    sent = headers()
    async with calling(line) as client:
        await client.post(PATH, json=CHAT, headers=sent)
        await in_time(lambda: len(tries) == 3)
        again = await client.post(PATH, json=CHAT, headers=sent)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(line.records) == 1


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


async def test_without_its_store_a_call_with_a_key_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> None:
        raise LedgerUnavailable("away", retry_after_s=2)

    monkeypatch.setattr("router.adapters.memory.MemoryIdempotencyStore.claim", away)
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with calling(line) as client:
        refused = await client.post(PATH, json=CHAT, headers=headers())
        plain = await client.post(
            PATH,
            json=CHAT,
            headers={"authorization": f"Bearer {KEY}"},
            timeout=httpx.Timeout(PATIENCE_S),
        )
    assert refused.status_code == 503
    assert plain.status_code == 200
    assert len(line.records) == 1


async def test_a_client_that_leaves_while_its_key_is_taken_leaves_it_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, gate = asyncio.Event(), asyncio.Event()
    claim = MemoryIdempotencyStore.claim

    async def late(*words: Any) -> Claim:
        found = await claim(*words)
        taken.set()
        await gate.wait()
        return found

    monkeypatch.setattr(MemoryIdempotencyStore, "claim", late)
    line = Line(FakeUpstream(lambda _: ANSWER))
    sent = headers()
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        first = asyncio.ensure_future(client.post(PATH, json=CHAT, headers=sent))
        await taken.wait()
        await leave(first)
        gate.set()
        again = await client.post(PATH, json=CHAT, headers=sent)
        while again.status_code == 409:  # It is forgotten a moment later.
            again = await client.post(PATH, json=CHAT, headers=sent)
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers
    assert len(line.records) == 1


async def test_a_key_is_free_though_the_store_went_away_as_it_was_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim = MemoryIdempotencyStore.claim
    answers = iter([LedgerUnavailable("away", retry_after_s=2)])

    async def broken(*words: Any) -> Claim:
        found = await claim(*words)
        for error in answers:
            raise error
        return found

    monkeypatch.setattr(MemoryIdempotencyStore, "claim", broken)
    line = Line(FakeUpstream(lambda _: ANSWER))
    sent = headers()
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        refused = await client.post(PATH, json=CHAT, headers=sent)
        again = await client.post(PATH, json=CHAT, headers=sent)
        while again.status_code == 409:
            again = await client.post(PATH, json=CHAT, headers=sent)
    assert (refused.status_code, again.status_code) == (503, 200)
    assert len(line.records) == 1


# --- calls that go on without their clients -------------------------------------------------------

STREAM = {**CHAT, "stream": True}
LAST = StreamPart(EVENT, 1, USED, "stop", done=True)


def lingering(seconds: str = "60") -> dict[str, str]:
    return headers() | {"x-route-linger-s": seconds}


async def leave(first: asyncio.Future[httpx.Response]) -> None:
    """Hang up during the call."""
    first.cancel()
    await asyncio.wait([first])


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
