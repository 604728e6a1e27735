"""A router that answers as a test says, for what a job asks of it."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from django.test import override_settings

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "author/slug"}
SENTENCE = "The sea is wide"
REQUEST_ID = "01976d2c-0000-7000-8000-000000000001"
HEADERS = {
    "x-request-id": REQUEST_ID,
    "x-route-worker": "fast-0",
    "x-route-worker-pool": "fast",
    "x-route-attempts": "1",
    "server-timing": "queue;dur=2.5, hedge;dur=0, upstream;dur=40, total;dur=43",
}
ROUTE = {
    "request_id": REQUEST_ID,
    "worker": "fast-0",
    "pool": "fast",
    "attempts": [{}],
    "queue_ms": 2.5,
    "upstream_ms": 1_250.0,
    "cost_nano_usd": 4_200,
}


class FakeRouter:
    """Streams ``words``; waits before the last one until it ``may_end``.

    ``waits`` are the events of a first stream that ends with them, each after the last ``may_end``.
    ``refusal`` is a status and a message in place of an answer. ``calls`` are the headers and
    bodies that came. ``left`` counts the clients that hung up on it. ``cancelled`` are the keys of
    the calls that it was asked to end.
    """

    def __init__(self) -> None:
        self.words = ["The ", "sea ", "is ", "wide"]
        self.refusal: tuple[int, str] | None = None
        self.waits: list[bytes] = []
        self.breaks_off = 0
        self.calls: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.left = 0
        self.cancelled: list[str] = []
        self.may_end = threading.Event()
        self.may_end.set()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/embeddings", self.embed)
        app.router.add_post("/v1/responses", self.embed)
        app.router.add_post("/v2/models/{author}/{slug}/infer", self.infer)
        return app

    async def _came(self, request: web.Request) -> web.Response | None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if "x-route-cancel" in headers:
            self.cancelled.append(headers["idempotency-key"])
            return web.json_response({"cancelled": True})
        self.calls.append((headers, await request.json()))
        if self.refusal is None:
            return None
        status, message = self.refusal
        return web.json_response({"error": {"message": message, "code": "x"}}, status=status)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if refused := await self._came(request):
            return refused
        try:
            return await self._stream(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            raise

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**HEADERS, "content-type": "text/event-stream"})
        await response.prepare(request)

        async def say(body: Any) -> None:
            await response.write(b"data: " + json.dumps(body).encode() + b"\n\n")

        waits, self.waits = self.waits, []
        if waits:
            for said in waits:
                await response.write(said)
                await asyncio.to_thread(self.may_end.wait)
            return response
        for place, word in enumerate(self.words):
            is_last = place == len(self.words) - 1
            while is_last and not self.may_end.is_set():
                await asyncio.sleep(0.01)
                await response.write(b": still\n\n")
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            await say({**HEAD, "choices": [choice]})
            if self.breaks_off:
                self.breaks_off -= 1
                assert request.transport is not None
                request.transport.abort()
                return response
        await say({**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        await say({**HEAD, "choices": [], "route": ROUTE})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def embed(self, request: web.Request) -> web.Response:
        if refused := await self._came(request):
            return refused
        body = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}]}
        return web.json_response(body, headers={**HEADERS, "x-cost-nano-usd": "7"})

    async def infer(self, request: web.Request) -> web.Response:
        if refused := await self._came(request):
            return refused
        outputs = [{"name": "SCORE", "datatype": "FP32", "shape": [2, 1], "data": [0.25, 0.75]}]
        body = {"model_name": "author/slug", "outputs": outputs}
        return web.json_response(body, headers={**HEADERS, "x-cost-nano-usd": "9"})


@contextmanager
def fake_router() -> Iterator[FakeRouter]:
    """One that jobs call in this process, and in those that it starts."""
    router, loop = FakeRouter(), asyncio.new_event_loop()
    runner = web.AppRunner(router.app(), handler_cancellation=True, shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    before = os.environ.get("WAYPOST_ROUTER_URL")
    os.environ["WAYPOST_ROUTER_URL"] = url
    try:
        with override_settings(WAYPOST_ROUTER_URL=url):
            yield router
    finally:
        router.may_end.set()
        if before is None:
            del os.environ["WAYPOST_ROUTER_URL"]
        else:
            os.environ["WAYPOST_ROUTER_URL"] = before
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
