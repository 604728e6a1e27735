"""Comments on streams whose answer has not begun, and what still works after them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Endpoint, Model
from router.domain.keys import digest_key
from router.ingress.progress import comment
from router.ports.upstream import StreamPart, UpstreamFailed
from router.scheduling.waiting.standing import Standing
from router.settings import Limits
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

AUTH = {"authorization": f"Bearer {KEY}"}
ASKING = {**AUTH, "x-route-progress": "1"}
OFTEN = Limits(progress_s=0.01, quiet_s=0)
CHAT = {"model": "a/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
SAID = b'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
PARTS: list[Step] = [StreamPart(SAID, 1), StreamPart(b"", 0, usage=USED, done=True)]
OTHER_KEY = "another-key"
DONE = b"data: [DONE]\n\n"


def line_of(script: Callable[[Endpoint], list[Step]], **more: object) -> Line:
    return Line(FakeUpstream(script), **more)


def upstream_that_waits(gate: asyncio.Event) -> FakeUpstream:
    return FakeUpstream(lambda _: [gate, *PARTS])


def two_organisations() -> Snapshot:
    made = snapshot()
    other = ApiKey(6, digest_key(OTHER_KEY, PEPPER), organisation_id=2, account_id=ACCOUNT)
    return structs.replace(made, keys=(*made.keys, other))


async def comments(lines: AsyncIterator[str], n: int) -> list[str]:
    found: list[str] = []
    async for line in lines:
        if line:
            found.append(line)
        if len(found) == n:
            break
    return found


async def test_a_stream_that_asks_is_told_until_its_answer_begins() -> None:
    gate = asyncio.Event()
    async with (
        calling(Line(upstream_that_waits(gate)), OFTEN) as client,
        client.stream("POST", "/v1/chat/completions", json=CHAT, headers=ASKING) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["x-request-id"]
        lines = answer.aiter_lines()
        assert await comments(lines, 3) == [": running"] * 3
        gate.set()
        rest = "\n".join([line async for line in lines]).encode()
    assert SAID.rstrip() in rest
    assert rest.rstrip().endswith(DONE.rstrip())


async def test_a_waiting_client_is_told_its_place_and_when() -> None:
    """In comments, and to callers of its organisation that ask about the call."""
    gate = asyncio.Event()
    received: dict[str, str] = {}

    async def call(client: httpx.AsyncClient) -> None:
        post = client.stream("POST", "/v1/chat/completions", json=CHAT, headers=ASKING)
        async with post as answer:
            lines = answer.aiter_lines()  # Once nobody has them, the client leaves.
            (said,) = await comments(lines, 1)
            received[answer.headers["x-request-id"]] = said
            await gate.wait()

    line = Line(upstream_that_waits(gate), catalog=two_organisations())
    async with calling(line, OFTEN) as client, asyncio.TaskGroup() as all_:
        for _ in range(20):
            all_.create_task(call(client))
        await in_time(lambda: len(received) == 20)
        queued = [id_ for id_, said in received.items() if said.startswith(": queued place=")]
        asked = f"/v1/generation?id={queued[-1]}"
        known = await client.get(asked, headers=AUTH)
        strange = await client.get(asked, headers={"authorization": f"Bearer {OTHER_KEY}"})
        gate.set()
    assert all(int(received[id_].rpartition("eta_ms=")[2]) > 0 for id_ in queued)
    standing = known.json()["data"]
    assert (standing["outcome"], standing["model"]) == ("waiting", "a/m")
    assert 1 <= standing["place"] <= len(queued)
    assert standing["eta"] > 0
    assert strange.status_code == 404


async def test_a_client_that_does_not_ask_is_told_after_a_long_silence() -> None:
    gate = asyncio.Event()
    async with (
        calling(Line(upstream_that_waits(gate)), Limits(quiet_s=0.01)) as client,
        client.stream("POST", "/v1/chat/completions", json=CHAT, headers=AUTH) as answer,
    ):
        assert await comments(answer.aiter_lines(), 1) == [": running"]
        gate.set()


@pytest.mark.parametrize("limits", [Limits(), Limits(quiet_s=0)])
async def test_a_stream_that_begins_soon_has_no_comments_and_says_where_it_ran(
    limits: Limits,
) -> None:
    async with calling(line_of(lambda _: PARTS), limits) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT, headers=ASKING)
    assert answer.content == SAID + DONE
    assert answer.headers["x-route-worker"]


def fails_late(gate: asyncio.Event) -> Callable[[Endpoint], list[Step]]:
    return lambda _: [gate, UpstreamFailed("reset")]


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/v1/chat/completions", b'data: {"error":{"message"'),
        ("/v1/messages", b'event: error\ndata: {"type":"error"'),
    ],
)
async def test_an_error_after_a_comment_comes_inside_the_stream(path: str, inside: bytes) -> None:
    gate = asyncio.Event()
    line = line_of(fails_late(gate))
    async with calling(line, OFTEN) as client:
        body = {**CHAT, "max_tokens": 5}
        async with client.stream("POST", path, json=body, headers=ASKING) as answer:
            assert answer.status_code == 200
            lines = answer.aiter_lines()
            await comments(lines, 1)
            gate.set()
            rest = "\n".join([item async for item in lines]).encode()
    assert inside in rest
    assert b"[DONE]" not in rest
    (record,) = line.records
    assert record.charge_nano == 0


async def test_an_error_before_any_comment_has_its_status() -> None:
    line = line_of(lambda _: [UpstreamFailed("reset")])
    async with calling(line, Limits()) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT, headers=ASKING)
    assert answer.status_code == 502


async def test_another_worker_still_answers_after_a_comment() -> None:
    gate = asyncio.Event()
    failed: list[str] = []

    def script(endpoint: Endpoint) -> list[Step]:
        if failed:
            return PARTS
        failed.append(endpoint.worker.id)
        return [gate, UpstreamFailed("reset")]

    async with (
        calling(line_of(script), OFTEN) as client,
        client.stream("POST", "/v1/chat/completions", json=CHAT, headers=ASKING) as answer,
    ):
        lines = answer.aiter_lines()
        await comments(lines, 1)
        gate.set()
        rest = "\n".join([line async for line in lines]).encode()
    assert SAID.rstrip() in rest
    assert rest.rstrip().endswith(DONE.rstrip())


async def test_another_model_still_answers_after_a_comment() -> None:
    gate = asyncio.Event()
    catalog = snapshot()
    other = structs.replace(catalog.deployments[1], id=9, model="a/other")
    catalog = structs.replace(
        catalog,
        models=(*catalog.models, Model("a/other", "chat", "1", 0, completion_tokens_max=100)),
        deployments=(catalog.deployments[0], other),
    )

    def script(endpoint: Endpoint) -> list[Step]:
        if endpoint.deployment.model == "a/other":
            return PARTS
        return [gate, UpstreamFailed("reset")]

    body = {**CHAT, "models": ["a/m", "a/other"]}
    async with (
        calling(line_of(script, catalog=catalog), OFTEN) as client,
        client.stream("POST", "/v1/chat/completions", json=body, headers=ASKING) as answer,
    ):
        lines = answer.aiter_lines()
        await comments(lines, 1)
        gate.set()
        rest = "\n".join([line async for line in lines]).encode()
    assert SAID.rstrip() in rest
    assert b"error" not in rest


def test_a_comment_says_place_and_time() -> None:
    assert comment(Standing(3, 1.2, "a/m", 1)) == b": queued place=3 eta_ms=1200\n\n"
    assert comment(None) == b": running\n\n"
