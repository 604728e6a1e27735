"""HTTP/1.1 for the callers: reused connections, and the time of the first byte of an answer."""

import asyncio
from collections.abc import Mapping
from typing import cast

import httptools
from msgspec import Struct

from tests.judge.timer import now_s

RESET = "reset"
REFUSED = "refused"
NO_HEADERS: Mapping[str, str] = {}


class Answer(Struct, frozen=True, gc=False):
    """What came back. ``error`` is empty where an answer came whole, of whatever status.

    ``first_s`` is when the first byte of the body was there, ``ended_s`` the last.
    """

    status: int
    body: bytes
    first_s: float
    ended_s: float
    error: str = ""


class Connection(asyncio.Protocol):
    """One request under way at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None

    @property
    def usable(self) -> bool:
        """Another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, payload: bytes) -> Answer:
        """The answer, or an error. Cancelled, it hangs up."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._first_s = 0.0
        self.heard = False
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(payload)
        try:
            return await self._waiting
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast("asyncio.Transport", transport)  # uvloop does not inherit it.

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and self.heard and exc is None and self._body:
            self._end("")  # A body that ends with its connection.
        else:
            self._end(RESET)

    # httptools
    def on_body(self, body: bytes) -> None:
        if not self._first_s:
            self._first_s = now_s()
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._transport is not None and not self._parser.should_keep_alive():
            self._transport.close()
        self._end("")

    def _end(self, error: str) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            status = 0 if error else self._parser.get_status_code()
            body = b"".join(self._body)
            waiting.set_result(Answer(status, body, self._first_s, now_s(), error))


class Client:
    """Posts JSON to one path of one port of this machine, over connections that it keeps."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join(lines).encode()
        self._port = port
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()

    async def ask(self, body: bytes, *, session: str = "") -> Answer:
        """The answer. A kept connection that turns out closed is replaced once."""
        named = f"\r\nX-Session-Id: {session}".encode() if session else b""
        payload = b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (self._head, named, len(body), body)
        while self._idle:
            kept = self._idle.pop()
            if kept.usable:
                answer = await self._ask_on(kept, payload)
                if answer.error and not kept.heard:
                    break
                return answer
        try:
            loop = asyncio.get_running_loop()
            _, fresh = await loop.create_connection(Connection, "127.0.0.1", self._port)
        except OSError:
            return Answer(0, b"", 0.0, now_s(), REFUSED)
        return await self._ask_on(fresh, payload)

    def hang_up(self) -> None:
        """Running requests end in an error."""
        for connection in list(self._busy):
            connection.abort()

    def close(self) -> None:
        """Close every connection."""
        for connection in (*self._busy, *self._idle):
            connection.abort()

    async def _ask_on(self, connection: Connection, payload: bytes) -> Answer:
        self._busy.add(connection)
        try:
            answer = await connection.ask(payload)
        finally:
            self._busy.discard(connection)
        if connection.usable:
            self._idle.append(connection)
        return answer
