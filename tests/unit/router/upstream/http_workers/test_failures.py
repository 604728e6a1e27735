"""Workers that misbehave: each failure has its word, and none hangs the caller."""

import asyncio

import msgspec
import pytest
from aiohttp import web
from msgspec import structs

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.openai_http import OpenAIUpstream
from tests.unit.router.upstream.workers import (
    LIMITS,
    Handler,
    answer,
    call,
    endpoint,
    replying,
    serving,
)

IMPATIENT = structs.replace(LIMITS, silence_timeout_s=0.2)
"""For workers that say nothing. A machine that pauses for so long is not rare."""


async def stream(url: str, limits: Limits = LIMITS) -> list[bytes]:
    async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as client:
        parts = OpenAIUpstream(client, limits).stream(call(stream=True), endpoint(url))
        return [part.chunk async for part in parts]


async def hanging(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def resetting(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    ("handler", "reason", "is_fault"),
    [
        (hanging, "timeout", True),
        (resetting, "reset", True),
        (replying(500, b"oops"), "http_500", True),
        (replying(429, b""), "http_429", False),
        (replying(404, b""), "http_404", False),
        (replying(503, b"stopping"), "http_503", True),
        (replying(503, b'{"error":"[x] Exceeds maximum queue size"}'), "http_503", False),
        (replying(200, b"not json"), "bad_json", True),
        (replying(200, b"[" * 50_000), "answer_too_large", True),
        (replying(200, b"[" * 9_000), "bad_json", True),
        (replying(200, b'{"choices":[{"message":{"content":"\xff"}}]}'), "bad_json", True),
        (replying(200, b'{"choices":[{"message":{"content":5}}]}'), "bad_json", True),
        (replying(200, b'{"choices":[{"message":{"tool_calls":{}}}]}'), "bad_json", True),
        (replying(200, b'{"error":{"message":"out of memory"}}'), "error_answer", True),
        (replying(200, b"{}"), "no_choices", True),
        (replying(200, b"x" * 20_000), "answer_too_large", True),
    ],
)
async def test_a_failing_worker_is_named_by_its_failure(
    handler: Handler, reason: str, is_fault: bool
) -> None:
    async with serving(handler) as url:
        with pytest.raises(UpstreamFailed) as failed:
            await answer(url, IMPATIENT if handler is hanging else LIMITS)
    assert (failed.value.reason, failed.value.is_fault) == (reason, is_fault)


async def test_nobody_listening_is_a_failure_to_connect() -> None:
    with pytest.raises(UpstreamFailed, match="connect"):
        await answer("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": {"message": "context is full"}}', "context is full"),
        (b'{"error": "bad shape"}', "bad shape"),
        (b'{"object": "error", "message": "too hot", "code": 400}', "too hot"),
        (b'{"detail": "no such field"}', "no such field"),
        (b'{"detail": [{"loc": ["body"], "msg": "field required"}]}', "field required"),
        (b"<html>", "refused"),
    ],
)
async def test_a_refusal_keeps_the_workers_words(body: bytes, says: str) -> None:
    async with serving(replying(400, body)) as url:
        with pytest.raises(UpstreamRefused, match=says):
            await answer(url)


async def test_half_of_a_surrogate_pair_in_a_refusal_is_told_as_what_it_is() -> None:
    body = rb'{"error": {"message": "no \ud83d", "code": "\ud83d", "param": "\ud83d"}}'
    async with serving(replying(400, body)) as url:
        with pytest.raises(UpstreamRefused) as refused:
            await answer(url)
    assert (refused.value.message, refused.value.code, refused.value.param) == ("no ?", "?", "?")


VLLM = "This model's maximum context length is 2048 tokens. However, you requested 4096."
LLAMA_TYPE = "exceed_context_size_error"
LLAMA = "the request exceeds the available context size, try increasing it"


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (400, {"message": VLLM, "code": 400}, (400, "context_length_exceeded", "messages")),
        (422, {"message": LLAMA}, (400, "context_length_exceeded", "messages")),
        (422, {"message": "no", "type": LLAMA_TYPE}, (400, "context_length_exceeded", "messages")),
        (400, {"message": "no", "code": "bad_tool", "param": "tools"}, (400, "bad_tool", "tools")),
        (413, {"message": "no", "code": 413, "param": 7}, (413, "", None)),
    ],
)
async def test_a_refusal_keeps_the_workers_status_code_and_field(
    status: int, error: dict, told: tuple
) -> None:
    async with serving(replying(status, msgspec.json.encode({"error": error}))) as url:
        with pytest.raises(UpstreamRefused) as refused:
            await answer(url)
    assert (refused.value.status, refused.value.code, refused.value.param) == told
    assert refused.value.message == error["message"]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (replying(200, b"{}"), "content_type"),
        (replying(200, b'data: {"choices":[]}\n\n', "text/event-stream"), "truncated"),
        (replying(200, b"data: " + b"x" * 2_000, "text/event-stream"), "event_too_large"),
        (hanging, "timeout"),
    ],
)
async def test_a_stream_that_goes_wrong_is_named(handler: Handler, reason: str) -> None:
    async with serving(handler) as url:
        with pytest.raises(UpstreamFailed, match=reason):
            await stream(url, IMPATIENT if handler is hanging else LIMITS)
