"""HTTP/1.1 for an emulated worker: small, because it shares a core with the load."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Protocol, cast

import httptools
import msgspec

JSON = b"Content-Type: application/json\r\n"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
LAST_EVENT = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"


class Handler(Protocol):
    """Answers requests."""

    connections: set[Connection]

    def handle(self, exchange: Exchange) -> None:
        """A request is there whole."""
        ...

    def gone(self, exchange: Exchange) -> None:
        """The caller hung up before the answer was complete."""
        ...


class Exchange:
    """One request and its answer."""

    __slots__ = ("_connection", "body", "method", "over", "path")

    def __init__(self, connection: Connection, method: str, path: str, body: bytes) -> None:
        self.method, self.path, self.body = method, path, body
        self.over = False
        """Answered, or given up."""
        self._connection = connection

    def answer(self, status: int, content: object, headers: bytes = b"") -> None:
        """The whole answer, as JSON."""
        self.answer_bytes(status, msgspec.json.encode(content), JSON + headers)

    def answer_bytes(self, status: int, body: bytes, headers: bytes) -> None:
        """The whole answer; each header ends in CRLF."""
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n"
        self._connection.write(b"".join((head.encode(), headers, b"\r\n", body)))
        self._end()

    def start_stream(self) -> None:
        """Headers at once, as vLLM sends them: the first event comes with the first token."""
        self._connection.write(STREAM)

    def event(self, content: object) -> None:
        """One event of a stream."""
        self._chunk(b"data: %s\n\n" % msgspec.json.encode(content))

    def end_stream(self) -> None:
        """The last event."""
        self._chunk(LAST_EVENT)
        self._connection.write(LAST_CHUNK)
        self._end()

    def _chunk(self, content: bytes) -> None:
        self._connection.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _end(self) -> None:
        self.over = True
        self._connection.ended()


class Connection(asyncio.Protocol):
    """One request at a time: no gateway sends a second before it has the first answer."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._path = b""
        self._body: list[bytes] = []
        self._exchange: Exchange | None = None
        self._keep_alive = True

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        return self._exchange is not None

    def write(self, content: bytes) -> None:
        """To the other side, if it is still there."""
        if self._transport is not None:
            self._transport.write(content)

    def ended(self) -> None:
        """The answer is whole."""
        self._exchange = None
        if not self._keep_alive and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """A reset, as of a process that is gone."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast("asyncio.Transport", transport)  # uvloop does not inherit it.
        self._handler.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._handler.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.over:
            exchange.over = True
            self._handler.gone(exchange)

    # httptools
    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._keep_alive = self._parser.should_keep_alive()
        path = self._path.partition(b"?")[0].decode()
        method, body = self._parser.get_method().decode(), b"".join(self._body)
        self._path, self._body = b"", []
        self._exchange = exchange = Exchange(self, method, path, body)
        self._handler.handle(exchange)
