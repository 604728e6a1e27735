"""Fakes of inference servers: a good one, and one for each fault that a check must find."""

import asyncio
import contextlib
import json
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.patience import PATIENCE_S

WORDS = [
    "The",
    "sea",
    "is",
    "wide",
    "and",
    "the",
    "waves",
    "come",
    "in",
    "with",
    "the",
    "evening",
    "wind",
    "over",
    "the",
    "sand",
]
MODEL = "sea-1"


@dataclass
class Behaviour:
    """What a fake OpenAI server does. ``faults`` name what it does wrong."""

    faults: frozenset[str] = frozenset()
    token_s: float = 0.0
    slots: int = 1


class FakeOpenAi:
    """Answers chat calls with words about the sea, rightly but for its faults."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._slots = asyncio.Semaphore(behaviour.slots)
        self._seeds = 0
        self._answered: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.hang_up])
        app.router.add_get("/health", self.health)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        if not self.has("http_error"):
            app.router.add_post("/v1/responses", self.responses)
        return app

    @web.middleware
    async def hang_up(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Take one call a connection, without having said so, where that is its fault."""
        transport = request.transport
        if self.has("one_call") and transport is not None:
            if transport in self._answered:
                transport.abort()
            self._answered.add(transport)
        return await handler(request)

    def has(self, fault: str) -> bool:
        return fault in self.behaviour.faults

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=503 if self.has("unhealthy") else 200)

    async def models(self, request: web.Request) -> web.Response:
        name = "another" if self.has("model_missing") else MODEL
        return web.json_response({"data": [{"id": name}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if "messages" not in asked:
            if self.has("bad_accepted"):
                return web.json_response(self._whole(["hello"], 1))
            if self.has("bad_crash"):
                return web.Response(status=500, text="Traceback")
            body: Any = (
                {"detail": "no"} if self.has("error_shape") else {"error": {"message": "no"}}
            )
            return web.json_response(body, status=400)
        words, most = self._words(asked), int(asked.get("max_tokens", 16))
        if self.has("too_many_tokens"):
            most += 10
        if asked.get("stream"):
            return await self._stream(request, asked, most)
        async with self._slots:
            await asyncio.sleep(self.behaviour.token_s * min(most, 8))
        return web.json_response(self._whole(words[:most], most, asked))

    async def responses(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if not asked["stream"] or asked["store"]:
            return web.json_response({"error": {"message": "no"}}, status=400)
        tokens = asked["max_output_tokens"] + 5 * self.has("response_too_long")
        usage = {} if self.has("response_uncounted") else {"input_tokens": 9}
        usage |= {"output_tokens": tokens}
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await self._send(response, {"type": "response.output_text.delta", "delta": "sea"})
        if not self.has("no_response"):
            done = {"status": "completed", "output": [], "usage": usage}
            await self._send(response, {"type": "response.completed", "response": done})
        return response

    def _words(self, asked: dict[str, Any]) -> list[str]:
        if asked.get("response_format") and not self.has("json_broken"):
            return ['{"colour":', '"blue"}']
        if asked.get("temperature") and self.has("seed_differs"):
            self._seeds += 1
            return [*WORDS[self._seeds :], *WORDS]
        stop = asked.get("stop") or []
        if stop and not self.has("stop_ignored"):
            return WORDS[: WORDS.index(stop[0])]
        return WORDS

    def _usage(self, tokens: int) -> dict[str, int]:
        tokens *= 50 if self.has("overcounted") else 1
        total = 9 + tokens + (1 if self.has("usage_wrong") else 0)
        return {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": total}

    def _whole(
        self, words: list[str], most: int, asked: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": " ".join(words)}
        if asked and asked.get("tools") and not self.has("tools_unused"):
            message["tool_calls"] = [{"id": "1", "type": "function", "function": {}}]
        if self.has("no_text"):
            message["content"] = ""
        body = {
            "choices": [
                {"message": message, "finish_reason": "length" if len(words) >= most else "stop"}
            ],
            "usage": self._usage(len(words)),
        }
        return body if not self.has("no_usage") else {"choices": body["choices"]}

    async def _stream(
        self, request: web.Request, asked: dict[str, Any], most: int
    ) -> web.StreamResponse:
        if self.has("not_a_stream"):
            return web.json_response(self._whole(WORDS[:most], most))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async with self._slots:
            try:
                await self._tokens(response, most)
            except (ConnectionError, asyncio.CancelledError):
                if self.has("cancel_ignored"):
                    # Goes on for nobody, with its slot taken.
                    await asyncio.sleep(self.behaviour.token_s * most)
                raise
        if not self.has("no_stream_usage"):
            await self._send(response, {"choices": [], "usage": self._usage(most)})
        if not self.has("no_done"):
            await response.write(b"data: [DONE]\n\n")
        return response

    async def _tokens(self, response: web.StreamResponse, most: int) -> None:
        words = [WORDS[i % 16] for i in range(most)]
        pieces = [" ".join(words)] if self.has("one_piece") else words
        for piece in pieces:
            await self._send(response, {"choices": [{"delta": {"content": piece}}]})
            await asyncio.sleep(self.behaviour.token_s)

    async def _send(self, response: web.StreamResponse, chunk: dict[str, Any]) -> None:
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())


@contextlib.contextmanager
def serving(make: Any) -> Iterator[str]:
    """Run an aiohttp application, made on its own loop in a thread; yields its base URL."""
    started, stop, received = threading.Event(), threading.Event(), {}

    async def run() -> None:
        runner = web.AppRunner(
            make(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        received["port"] = runner.addresses[0][1]
        started.set()
        await asyncio.to_thread(stop.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield f"http://127.0.0.1:{received['port']}"
    finally:
        stop.set()
        thread.join(10)


def fake_openai(*faults: str, token_s: float = 0.0, slots: int = 1) -> Any:
    """The base URL of a fake with these faults, as a context."""
    behaviour = Behaviour(frozenset(faults), token_s, slots)
    return serving(lambda: FakeOpenAi(behaviour).app())


def whole_draft(url: str) -> dict[str, Any]:
    """A listing of the fake at this URL that lacks nothing."""
    return {
        "model_name": "harbour/sea-1",
        "display_name": "Sea 1",
        "task": "chat",
        "description": "Words about the sea.",
        "license": "Apache-2.0",
        "context_tokens_max": 2048,
        "completion_tokens_max": 512,
        "version": "1",
        "pool_name": "harbour-cpu",
        "hardware": "CPU",
        "engine": "fake",
        "region": "local",
        "endpoints": [{"url": url, "protocol": "openai", "slots": 1}],
        "upstream_model": MODEL,
        "supported_parameters": ["stop"],
        "prompt_nano_per_million": 30_000_000,
        "completion_nano_per_million": 60_000_000,
    }
