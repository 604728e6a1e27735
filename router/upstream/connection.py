"""One HTTP/1.1 connection to a worker: one exchange at a time, parsed by llhttp.

The reader pulls. Unread bytes are bounded: beyond ``BUFFER_BYTES_MAX`` the socket is no longer
read, so that a slow client slows its worker down instead of filling memory.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

import httptools

from router.ports.upstream import UpstreamFailed

BUFFER_BYTES_MAX = 256 * 1024
HEAD_BYTES_MAX = 64 * 1024
INFORMATIONAL = range(100, 200)
BODILESS = frozenset({204, 304})
LOST_S = 5
"""A host that acknowledges nothing for so long is gone: its network may be cut, or its power."""
KEEPALIVE_FROM_S = 2
KEEPALIVE_EVERY_S = 1
WINDOW_BYTES = 32 * 1024
"""Up to this size, a host takes a request even if its worker does not read yet."""

_TCP_INFO = struct.Struct("=2x2B20xI116xI")
"""Retransmissions and probes since the last acknowledgement, segments under way, bytes to send."""


Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Connection(asyncio.Protocol):
    """``status`` and ``headers`` (lower-case names) are those of the current answer.

    ``heard_s`` is when the worker last sent something, on the loop's clock. ``is_busy`` is true
    from :meth:`send` to :meth:`finish`. ``lost`` is called once, when the connection has ended.
    """

    __slots__ = (
        "_bare_bytes",
        "_buffered",
        "_chunks",
        "_complete",
        "_error",
        "_extra",
        "_framed",
        "_has_head",
        "_head_bytes",
        "_is_large",
        "_keep_alive",
        "_loop",
        "_lost",
        "_parser",
        "_paused",
        "_socket",
        "_transport",
        "_waiter",
        "headers",
        "heard_s",
        "is_busy",
        "is_open",
        "origin",
        "status",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, lost: Callable[["Connection"], None]
    ) -> None:
        self._loop = loop
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport
        self._socket: socket.socket
        self.origin = origin
        self.is_open = False
        self.is_busy = False
        self._is_large = False
        self._paused = False
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._head_bytes = self._bare_bytes = 0
        self._has_head = self._complete = self._extra = self._framed = self._keep_alive = False
        self._error: UpstreamFailed | None = None
        self.heard_s = self._loop.time()

    # For the reader

    @property
    def was_silent(self) -> bool:
        """Whether no byte of the answer has come."""
        return not self._head_bytes

    @property
    def is_paused(self) -> bool:
        """Whether the reader holds up the worker."""
        return self._paused

    async def send(self, request: bytes) -> None:
        """Send a whole request and wait for the head of its answer.

        Raises ``UpstreamFailed``. An error or a cancellation ends the connection.
        """
        self._begin()
        self.is_busy = True
        if len(request) > WINDOW_BYTES:
            self._is_large = True
        self._transport.write(request)
        try:
            while not self._has_head:
                await self._news()
        except BaseException:
            self.finish()
            raise

    async def chunk(self) -> bytes | None:
        """The bytes that have come since the last call, or None at the end.

        Raises ``UpstreamFailed``.
        """
        while not self._chunks:
            if self._complete:
                return None
            await self._news()
        return self._take()

    async def read(self, bytes_max: int) -> bytes:
        """The whole body. Raises ``UpstreamFailed``, also if it is larger than the bound."""
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > bytes_max:
            raise _too_large(bytes_max)
        if self._complete and self._buffered <= bytes_max:
            return self._take()
        parts: list[bytes] = []
        total = 0
        while (data := await self.chunk()) is not None:
            total += len(data)
            if total > bytes_max:
                raise _too_large(bytes_max)
            parts.append(data)
        return b"".join(parts)

    def finish(self) -> bool:
        """The reader is done. True if the connection can be used again; otherwise it is closed."""
        self.is_busy = False
        if self._complete and self._keep_alive and not self._extra and self.is_open:
            self._resume()
            return True
        self.close()
        return False

    def close(self) -> None:
        """End the connection now, which also tells the worker."""
        self.is_open = False
        self._transport.abort()

    def fail(self, error: UpstreamFailed) -> None:
        """End the connection with an error for the reader."""
        if not self._complete and self._error is None:
            self._error = error
        self.close()
        self._wake()

    def watch_sending(self) -> None:
        """Leave a worker time to take a large request, as long as its host answers.

        The kernel by itself takes a host that is full for a lost one, though it acknowledges.
        """
        if not self._is_large or not self.is_open:
            return
        with contextlib.suppress(OSError):  # It may end at this moment.
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            resent, probes, under_way, unsent = _TCP_INFO.unpack(info)
            self._is_large = bool(under_way or unsent or self._transport.get_write_buffer_size())
            _end_if_lost(self._socket, 0 if self._is_large and resent + probes <= 1 else LOST_S)

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self._socket = cast("socket.socket", transport.get_extra_info("socket"))
        _notice_lost_host(self._socket)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if not self._complete and self._error is None:
            if self._has_head and not self._framed and exc is None:
                self._complete = True  # The end of the connection is the end of the answer.
            else:
                self._error = UpstreamFailed("reset")
        self._wake()
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        if not self.is_busy:
            return self.close()  # An answer without a request: nothing after it can be trusted.
        self.heard_s = self._loop.time()
        if not self._has_head:
            self._head_bytes += len(data)
        buffered, had_head = self._buffered, self._has_head
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return self.fail(UpstreamFailed("protocol", type(error).__name__))
        if self._buffered != buffered:
            self._bare_bytes = 0
        elif had_head:
            self._bare_bytes += len(data)  # Trailers, or the lengths of chunks.
            if self._bare_bytes > HEAD_BYTES_MAX:
                return self.fail(UpstreamFailed("trailers_too_large", f"over {HEAD_BYTES_MAX}"))
        if not self._has_head and self._head_bytes > HEAD_BYTES_MAX:
            return self.fail(UpstreamFailed("head_too_large", f"over {HEAD_BYTES_MAX} bytes"))
        if self._buffered > BUFFER_BYTES_MAX and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    # For the parser

    def on_message_begin(self) -> None:
        """A message begins. One after the answer is one too many."""
        self._extra = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        if not self._complete:
            self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is complete. A 1xx is not the answer yet."""
        if self._complete:
            return
        self.status = self._parser.get_status_code()
        if self.status in INFORMATIONAL:
            self.headers.clear()
            return
        headers = self.headers
        self._framed = (
            b"content-length" in headers
            or b"transfer-encoding" in headers
            or self.status in BODILESS
        )
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self._complete:
            self._chunks.append(body)
            self._buffered += len(body)

    def on_message_complete(self) -> None:
        """The message is complete."""
        if self._has_head and not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    def _take(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        self._resume()
        return data

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.heard_s = self._loop.time()
            if self.is_open:
                self._transport.resume_reading()

    def _news(self) -> asyncio.Future[None]:
        """Done when something has changed. Raises an error that is already there."""
        if self._error is not None:
            raise self._error
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _too_large(bytes_max: int) -> UpstreamFailed:
    return UpstreamFailed("answer_too_large", f"over {bytes_max} bytes")


def _notice_lost_host(connected: socket.socket) -> None:
    """Have the kernel end the connection, idle or not, once its other end is silent for LOST_S."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_FROM_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    _end_if_lost(connected, LOST_S)


def _end_if_lost(connected: socket.socket, within_s: int) -> None:
    """Have the kernel wait so long for what was sent to be taken; 0 is without end."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, within_s * 1_000)
