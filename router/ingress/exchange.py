"""One HTTP exchange over ASGI: reading a bounded body, answering, noticing that the client left."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from router.domain.errors import BodyTooLarge, RequestInvalid

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[str, str]]

WATCH_AFTER_S = 0.2
"""When to begin listening for a disconnect: most calls are over before, and pay nothing for it."""


class Exchange:
    """A request and its answer. It is the :class:`~router.pipeline.gateway.Client` of a call."""

    __slots__ = (
        "_cors",
        "_loop",
        "_receive",
        "_send",
        "_task",
        "_watch_timer",
        "_watcher",
        "headers",
        "method",
        "path",
        "started",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, cors_origins: frozenset[str]
    ) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.started = False
        self._receive = receive
        self._send = send
        self._cors = _cors_headers(self.headers.get(b"origin", b"").decode(), cors_origins)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._watch_timer: asyncio.TimerHandle | None = None

    def header(self, name: bytes) -> str:
        """A request header by its lower-case name, "" when it is absent."""
        return self.headers.get(name, b"").decode("latin-1")

    async def read_body(self, bytes_max: int) -> bytes:
        """The whole body. Raises ``BodyTooLarge`` without reading more than the bound."""
        declared = self.headers.get(b"content-length", b"0")
        if not declared.isdigit():
            raise RequestInvalid(f"Content-Length {declared.decode('latin-1')!r} is not a number")
        if int(declared) > bytes_max:
            raise _too_large(bytes_max)
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False) and len(body) <= bytes_max:
            return body
        parts = [body]
        total = len(body)
        while message.get("more_body", False):
            if total > bytes_max:
                break
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            parts.append(message.get("body", b""))
            total += len(parts[-1])
        if total > bytes_max:
            raise _too_large(bytes_max)
        return b"".join(parts)

    def watch(self) -> None:
        """From soon on, cancel the current task when the client leaves. Call after the body."""
        self._task = asyncio.current_task()
        self._watch_timer = self._loop.call_later(WATCH_AFTER_S, self._begin_watching)

    def unwatch(self) -> None:
        """The call is over."""
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        raw.append((b"content-length", b"%d" % len(body)))
        raw.extend(self._cors)
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        await self._send({"type": "http.response.body", "body": body})

    async def start_stream(self, headers: Headers) -> None:
        """Begin server-sent events."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        raw.append((b"content-type", b"text/event-stream; charset=utf-8"))
        raw.append((b"cache-control", b"no-cache"))
        raw.extend(self._cors)
        self.started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def send(self, chunk: bytes) -> None:
        """Send some events."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end_stream(self) -> None:
        """End the answer."""
        await self._send({"type": "http.response.body", "body": b""})

    async def allow_cross_origin(self) -> None:
        """Answer a CORS preflight."""
        raw = [
            *self._cors,
            (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
            (b"access-control-allow-headers", b"authorization, content-type, x-route-explain"),
            (b"access-control-max-age", b"600"),
        ]
        await self._send({"type": "http.response.start", "status": 204, "headers": raw})
        await self._send({"type": "http.response.body", "body": b""})

    def _begin_watching(self) -> None:
        self._watcher = self._loop.create_task(self._cancel_when_gone())

    async def _cancel_when_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._task.cancel()


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {bytes_max} bytes")


def _cors_headers(origin: str, allowed: frozenset[str]) -> list[tuple[bytes, bytes]]:
    if not origin or origin not in allowed:
        return []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"*, retry-after, server-timing, x-request-id"),
        (b"vary", b"origin"),
    ]
