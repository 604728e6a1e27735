"""Workers that misbehave, as real servers: each failure has its word, and none hangs the caller."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from aiohttp import web
from msgspec import structs

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import Deployment, Endpoint, Pool, Worker
from router.domain.pricing import Price, Usage
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.oip_http import HEADER_LENGTH, HTTPTransport, OIPUpstream
from router.upstream.openai_http import LENGTHS, OpenAIUpstream
from tests.unit.router.ingress.reading import parse_call

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LIMITS = Limits(connect_timeout_s=30, answer_bytes_max=10_000, event_bytes_max=1_000)
IMPATIENT = structs.replace(LIMITS, silence_timeout_s=0.2)
"""For workers that say nothing. A machine that pauses for so long is not rare."""


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The URL of a server that answers every request by ``handler``."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def endpoint(url: str, *, protocol: str = "openai", upstream_model: str = "a/m") -> Endpoint:
    worker = Worker("w", "p", url, protocol, 1)
    deployment = Deployment(1, "a/m", "n", 1, "p", upstream_model, Price(1))
    return Endpoint("e", deployment, worker, Pool("p", "cpu"))


def call(kind: Kind = Kind.CHAT, **fields: object) -> InferenceRequest:
    body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}], "input": "x", **fields}
    return parse_call(
        kind,
        msgspec.json.encode(body),
        request_id="r",
        explain=False,
        arrived_s=0.0,
        created_at_ms=0,
    )


async def answer(url: str, limits: Limits = LIMITS):
    async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as client:
        return await OpenAIUpstream(client, limits).answer(call(), endpoint(url))


async def stream(url: str, limits: Limits = LIMITS) -> list[bytes]:
    async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as client:
        parts = OpenAIUpstream(client, limits).stream(call(stream=True), endpoint(url))
        return [part.chunk async for part in parts]


def replying(status: int, body: bytes, content_type: str = "application/json") -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type=content_type)

    return handle


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


TOOLS = [{"type": "function", "function": {"name": "add", "of_its_own": 1}, "more": [1]}]


async def test_what_a_worker_is_sent_is_the_clients_body_and_nothing_of_the_client() -> None:
    seen: dict[str, object] = {}

    async def handle(request: web.Request) -> web.Response:
        seen.update(await request.json(), headers={name.lower() for name in request.headers})
        return web.json_response({"model": "up", "choices": [{}], "usage": {"prompt_tokens": 3}})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        request = call(temperature=0.5, tools=TOOLS, provider={"only": ["n"]}, models=["b"])
        upstream = OpenAIUpstream(client, LIMITS)
        found = await upstream.answer(request, endpoint(url, upstream_model="up"))
    assert (seen["model"], seen["temperature"], seen["tools"]) == ("up", 0.5, TOOLS)
    assert not {"provider", "models"} & set(seen)
    assert seen["headers"] == {"host", "content-type", "content-length"}
    assert msgspec.json.decode(found.body)["model"] == "a/m"
    assert found.usage == Usage(prompt_tokens=3)


@pytest.mark.parametrize("given", ["text", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
async def test_embeddings_reach_the_worker_as_they_were_asked_for(given: object) -> None:
    seen: dict[str, object] = {}

    async def handle(request: web.Request) -> web.Response:
        seen.update(await request.json())
        return web.json_response({"data": [], "usage": {"prompt_tokens": 3}})

    wanted = {"input": given, "dimensions": 64, "encoding_format": "base64"}
    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OpenAIUpstream(client, LIMITS)
        await upstream.answer(call(Kind.EMBEDDING, **wanted), endpoint(url))
    assert {name: seen[name] for name in wanted} == wanted


async def test_every_name_for_the_length_of_an_answer_has_the_bound_that_was_held_for() -> None:
    seen: list[dict[str, object]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return web.json_response({"choices": [{}]})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OpenAIUpstream(client, LIMITS)
        for asked in ({}, {"max_completion_tokens": 2, "max_tokens": 10**6, "n_predict": 10**6}):
            request = structs.replace(call(**asked), bound=Usage(completion_tokens=2))
            await upstream.answer(request, endpoint(url))
    lengths = [{name: event[name] for name in LENGTHS & event.keys()} for event in seen]
    assert lengths == [{"max_tokens": 2}, dict.fromkeys(LENGTHS, 2)]


async def test_an_answer_without_usage_is_counted() -> None:
    body = msgspec.json.encode({"choices": [{"message": {"content": "12345678"}}]})
    async with serving(replying(200, body)) as url:
        found = await answer(url)
    assert found.usage is not None
    assert found.usage.completion_tokens == 2


async def infer(url: str, payload: bytes, headers: tuple[tuple[str, str], ...]):
    request = InferenceRequest(
        id="r",
        kind=Kind.INFER,
        model="a/m",
        bound=Usage(rows=2),
        arrived_s=0.0,
        created_at_ms=0,
        payload=payload,
        payload_headers=headers,
    )
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        return await upstream.answer(request, endpoint(url, protocol="oip", upstream_model="up"))


async def test_binary_tensors_come_back_under_the_public_name_with_a_true_length() -> None:
    head, tail = b'{"model_name":"up","outputs":[]}', b"\x00\x01\x02"

    async def handle(request: web.Request) -> web.Response:
        assert request.path == "/v2/models/up/infer"
        assert await request.read() == b"{}\x09"
        return web.Response(
            body=head + tail,
            content_type="application/octet-stream",
            headers={HEADER_LENGTH.decode(): str(len(head))},
        )

    async with serving(handle) as url:
        found = await infer(url, b"{}\x09", (("Inference-Header-Content-Length", "2"),))
    length = int(dict(found.headers)[HEADER_LENGTH.decode()])
    assert msgspec.json.decode(found.body[:length])["model_name"] == "a/m"
    assert found.body[length:] == tail
    assert found.usage == Usage(rows=2)


async def test_embeddings_are_translated_both_ways() -> None:
    async def handle(request: web.Request) -> web.Response:
        (tensor,) = (await request.json())["inputs"]
        assert (tensor["shape"], tensor["data"]) == ([2, 1], ["one", "two"])
        outputs = [
            {"name": "EMBEDDING", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]},
            {"name": "TOKENS", "shape": [2, 1], "data": [5, 6]},
        ]
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        place = endpoint(url, protocol="oip")
        plain = await upstream.answer(call(Kind.EMBEDDING, input=["one", "two"]), place)
        packed = await upstream.answer(
            call(Kind.EMBEDDING, input=["one", "two"], encoding_format="base64"), place
        )
    body = msgspec.json.decode(plain.body)
    assert [entry["embedding"] for entry in body["data"]] == [[1.0, 2.0], [3.0, 4.0]]
    assert plain.usage == Usage(prompt_tokens=11)
    assert msgspec.json.decode(packed.body)["data"][0]["embedding"] == "AACAPwAAAEA="


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input": [[1, 2]]}, "token arrays"),
        ({"input": "x", "encoding_format": "int8"}, "int8"),
    ],
)
async def test_embeddings_that_cannot_be_translated_are_refused(fields: dict, says: str) -> None:
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamRefused, match=says):
            await upstream.answer(
                call(Kind.EMBEDDING, **fields), endpoint("http://127.0.0.1:1", protocol="oip")
            )


RERANK = {"query": "q", "documents": ["one", "two"]}


async def test_rerankings_are_translated_both_ways() -> None:
    async def handle(request: web.Request) -> web.Response:
        inputs = {tensor["name"]: tensor for tensor in (await request.json())["inputs"]}
        assert inputs["QUERY"]["data"] == ["q", "q"]
        assert inputs["DOCUMENT"]["data"] == ["one", "two"]
        outputs = [
            {"name": "SCORE", "shape": [2, 1], "data": [0.25, 0.5]},
            {"name": "TOKENS", "shape": [2, 1], "data": [2, 3]},
        ]
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        found = await upstream.answer(call(Kind.RERANK, **RERANK), endpoint(url, protocol="oip"))
    assert found.usage == Usage(prompt_tokens=5, rows=1)
    results = msgspec.json.decode(found.body)["results"]
    assert results == [
        {"index": 1, "relevance_score": 0.5},
        {"index": 0, "relevance_score": 0.25},
    ]


async def test_a_query_that_would_fill_the_memory_is_refused() -> None:
    large = {"query": "q" * 200_000, "documents": ["x"] * 100}
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamRefused, match="once for each of the 100 documents") as refused:
            await upstream.answer(
                call(Kind.RERANK, **large), endpoint("http://127.0.0.1:1", protocol="oip")
            )
    assert (refused.value.status, refused.value.param) == (422, "query")


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [{"name": "SCORE", "shape": [1, 1], "data": [1.0]}],
        [
            {"name": "SCORE", "shape": [1, 1], "data": [1.0]},
            {"name": "TOKENS", "shape": [1, 1], "data": [1]},
        ],
        "x",
    ],
)
async def test_a_reranking_that_is_none_is_the_workers_fault(outputs: object) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamFailed, match="bad_tensors"):
            await upstream.answer(call(Kind.RERANK, **RERANK), endpoint(url, protocol="oip"))


def _scores(**columns: list[float]) -> list[dict[str, object]]:
    return [
        {"name": name, "shape": [len(column), 1], "data": column}
        for name, column in columns.items()
    ]


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (["one", "two"], ["one", "two"]),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], ["one\ntwo"]),
        ("one", ["one"]),
    ],
)
async def test_moderations_are_translated_both_ways(given: object, texts: list[str]) -> None:
    async def handle(request: web.Request) -> web.Response:
        (tensor,) = (await request.json())["inputs"]
        assert (tensor["name"], tensor["data"]) == ("TEXT", texts)
        rows = len(texts)
        outputs = _scores(HATE=[0.75, 0.25][:rows], SPAM=[0.5, 0.0][:rows], TOKENS=[2, 3][:rows])
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        asked = call(Kind.MODERATION, input=given)
        found = await upstream.answer(asked, endpoint(url, protocol="oip"))
    results = msgspec.json.decode(found.body)["results"]
    assert len(results) == len(texts)
    assert results[0] == {
        "flagged": True,
        "categories": {"hate": True, "spam": False},
        "category_scores": {"hate": 0.75, "spam": 0.5},
    }
    assert [result["flagged"] for result in results[1:]] == [False] * (len(texts) - 1)
    assert found.usage is not None
    assert found.usage.prompt_tokens == [2, 5][len(texts) - 1]


@pytest.mark.parametrize(
    "outputs",
    [
        _scores(TOKENS=[1, 1]),
        _scores(HATE=[0.5, 0.5]),
        _scores(HATE=[0.5], TOKENS=[1, 1]),
        "x",
    ],
)
async def test_a_moderation_that_is_none_is_the_workers_fault(outputs: object) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response({"outputs": outputs})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        asked = call(Kind.MODERATION, input=["one", "two"])
        with pytest.raises(UpstreamFailed, match="bad_tensors"):
            await upstream.answer(asked, endpoint(url, protocol="oip"))


async def test_images_are_not_moderated_by_texts() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OIPUpstream(HTTPTransport(client, LIMITS))
        with pytest.raises(UpstreamRefused, match="leave out the images"):
            await upstream.answer(
                call(Kind.MODERATION, input=parts), endpoint("http://127.0.0.1:1", protocol="oip")
            )


@pytest.mark.parametrize(
    "outputs", [[], [{"name": "EMBEDDING", "shape": [1, 2], "data": [1.0]}], "x"]
)
async def test_tensors_that_make_no_sense_are_a_failure(outputs: object) -> None:
    body = msgspec.json.encode({"outputs": outputs})
    async with (
        serving(replying(200, body)) as url,
        HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client,
    ):
        with pytest.raises(UpstreamFailed, match="bad_tensors"):
            await OIPUpstream(HTTPTransport(client, LIMITS)).answer(
                call(Kind.EMBEDDING), endpoint(url, protocol="oip")
            )
