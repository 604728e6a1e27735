"""One request of a benchmark: what is read of answers, and the router's own part of a call."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from marketplace.benchmarks.loadgen.callers import Server, caller_of
from marketplace.benchmarks.loadgen.plan import Plan, plan_of
from marketplace.benchmarks.loadgen.samples import Sample
from tests.backend import backend
from tests.ports import free_ports

KEY = "a-key"
GPT_J = "emulated/gpt-j-6b"
HEADERS = (("authorization", f"Bearer {KEY}"),)
FIRST_TOKEN_S = 1.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CHAT = plan_of("chat", {"prompt_tokens": 64, "completion_tokens": 4})
EMBEDDINGS = plan_of("embeddings", {})


@contextmanager
def router_before(worker_url: str, folder: Path) -> Iterator[str]:
    fleet = folder / "fleet.json"
    worker = {"id": "w", "url": worker_url, "class": "cpu", "slots": 1, "model": GPT_J}
    fleet.write_text(json.dumps([worker]))
    (port,) = free_ports(1)
    words = ["router", "--fleet", str(fleet), "--port", str(port), "--key", KEY]
    with backend(words, f"http://127.0.0.1:{port}/readyz", folder / "log"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def router_url(emulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A router before an emulated accelerator whose first token takes a while."""
    with router_before(f"{emulator_url}/emulated-cpu-0", tmp_path_factory.mktemp("router")) as url:
        yield url


@asynccontextmanager
async def answering(handle: Handler) -> AsyncIterator[str]:
    """A server that handles every path so."""
    application = web.Application()
    application.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(answer: web.StreamResponse, plan: Plan = EMBEDDINGS) -> Sample:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return answer

    async with answering(handle) as here:
        caller = caller_of(plan, [Server(here, "openai", "m")], [])
        sample = await caller.call(0, lambda: None)
        await caller.close()
        return sample


async def test_a_connection_that_the_worker_closed_is_opened_again() -> None:
    """llama.cpp's server says keep-alive, and closes after each stream all the same."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read(1)  # Somebody asks again here: too late.
        writer.close()

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        caller = caller_of(EMBEDDINGS, [Server(f"http://127.0.0.1:{port}", "openai", "m")], [])
        errors = [(await caller.call(index, lambda: None)).error for index in range(3)]
        await caller.close()
    assert errors == ["", "", ""]


async def test_a_worker_is_called_at_the_address_that_was_judged() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response({"asked": request.host})

    async with answering(handle) as here:
        port = urlsplit(here).port
        # The name leads nowhere by itself.
        server = Server(f"http://worker.invalid:{port}", "openai", "m", address="127.0.0.1")
        caller = caller_of(EMBEDDINGS, [server], [])
        sample = await caller.call(0, lambda: None)
        await caller.close()
    assert sample.error == ""


def test_the_routers_part_of_a_chat_is_a_small_one(router_url: str) -> None:
    async def run() -> list[Sample]:
        caller = caller_of(CHAT, [Server(router_url, "openai", GPT_J, is_router=True)], [], HEADERS)
        samples = [await caller.call(0, lambda: None) for _ in range(3)]
        await caller.close()
        return samples

    samples = asyncio.run(run())
    for sample in samples:
        assert (sample.error, sample.tokens) == ("", 4)
        assert sample.ttft_ms > 20
        assert 0 <= sample.queue_ms <= sample.router_ms < sample.ttft_ms
    # Of one of them at least: on a busy machine the router may have to wait for its turn.
    assert min(sample.router_ms / sample.ttft_ms for sample in samples) < 0.5


def test_what_a_worker_takes_after_its_headers_is_not_the_routers(tmp_path: Path) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n')
        await asyncio.sleep(FIRST_TOKEN_S)
        await answer.write(b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n')
        await answer.write(b"data: [DONE]\n\n")
        return answer

    async def run() -> Sample:
        async with answering(stream) as worker:
            with ExitStack() as stack:
                router = await asyncio.to_thread(
                    stack.enter_context, router_before(worker, tmp_path)
                )
                caller = caller_of(CHAT, [Server(router, "openai", GPT_J, True)], [], HEADERS)
                sample = await caller.call(0, lambda: None)
                await caller.close()
                return sample

    sample = asyncio.run(run())
    assert sample.error == ""
    assert sample.ttft_ms > FIRST_TOKEN_S * 1e3
    assert 0 <= sample.queue_ms <= sample.router_ms < FIRST_TOKEN_S * 1e3 / 2


def test_a_worker_that_is_called_itself_has_no_routers_part(emulator_url: str) -> None:
    async def run() -> Sample:
        server = Server(f"{emulator_url}/emulated-h100-0", "openai", GPT_J)
        caller = caller_of(CHAT, [server], [])
        sample = await caller.call(0, lambda: None)
        await caller.close()
        return sample

    sample = asyncio.run(run())
    assert (sample.error, sample.tokens) == ("", 4)
    assert (sample.queue_ms, sample.router_ms) == (-1, -1)


@pytest.mark.parametrize("first", [True, False])
def test_tokens_of_an_embeddings_answer_are_read_before_or_after_the_vectors(first: bool) -> None:
    usage, data = {"usage": {"prompt_tokens": 9}}, {"data": [{"embedding": [0.5] * 900}]}
    text = json.dumps({**usage, **data} if first else {**data, **usage})
    sample = asyncio.run(asked(web.Response(text=text)))
    assert (sample.error, sample.tokens) == ("", 9)


@pytest.mark.parametrize(
    ("body", "error", "tokens"),
    [
        ('data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\ndata: [DONE]\n\n', "", 1),
        ("data: []\n\ndata: 7\n\ndata: [DONE]\n\n", "the stream carried no text", 0),
        ('data: {"error":"out of memory"}\n\n', "out of memory", 0),
    ],
)
def test_odd_streams_are_read(body: str, error: str, tokens: int) -> None:
    answer = web.Response(text=body, content_type="text/event-stream")
    sample = asyncio.run(asked(answer, CHAT))
    assert (sample.error, sample.tokens) == (error, tokens)


def test_nobody_there_is_an_error_of_the_sample() -> None:
    (port,) = free_ports(1)

    async def run() -> Sample:
        caller = caller_of(EMBEDDINGS, [Server(f"http://127.0.0.1:{port}", "openai", "m")], [])
        sample = await caller.call(0, lambda: None)
        await caller.close()
        return sample

    assert "Connect" in asyncio.run(run()).error


def test_an_invalid_address_is_refused() -> None:
    with pytest.raises(ValueError, match="looks like http"):
        caller_of(EMBEDDINGS, [Server("ftp://host", "openai", "m")], [])


async def test_no_two_points_send_the_same_prompt() -> None:
    """Each has its own caller, and an engine may have kept what an earlier one sent."""
    seen: list[bytes] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(await request.read())
        return web.Response(text="data: [DONE]\n\n")

    async with answering(handle) as here:
        for _point in range(3):
            caller = caller_of(CHAT, [Server(here, "openai", "m")], [])
            for _again in range(2):
                await caller.call(0, lambda: None)
            await caller.close()
    assert len(set(seen)) == 6


async def test_what_an_engine_counts_of_a_stream_is_kept() -> None:
    usage = {
        "prompt_tokens": 70,
        "completion_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 32},
    }
    events = [{"choices": [{"delta": {"content": "a b"}}]} for _ in range(3)]
    text = "".join(f"data: {json.dumps(item)}\n\n" for item in (*events, {"usage": usage}))
    sample = await asked(web.Response(text=text), CHAT)
    assert (sample.prompt_tokens, sample.cached_tokens) == (70, 32)
    assert (sample.tokens, sample.events) == (6, 3)
