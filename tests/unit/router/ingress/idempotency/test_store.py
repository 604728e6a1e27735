"""Keys whose store is away, forgets them, or is slow."""

import asyncio
from typing import Any

import httpx
import pytest

from router.adapters.memory import MemoryIdempotencyStore
from router.domain.errors import LedgerUnavailable
from router.ports.idempotency import Claim, Claimant, ClaimState
from router.ports.upstream import StreamPart
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.idempotency.asking import ANSWER, CHAT, EVENT, PATH, headers, leave
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line, Step, in_time


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
