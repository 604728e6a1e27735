"""The body of a request that is passed on as it comes, with back-pressure."""

import asyncio
from collections import deque
from typing import Protocol

HELD_BYTES_MAX = 256 * 1024
"""Once so much waits to be read, no more is taken from the client. One read of the socket, which is
as large, may exceed it."""


class Source(Protocol):
    """The connection that a body comes from."""

    def want_body(self) -> None:
        """The body is needed now: a client that asked whether to send it gets the go-ahead."""
        ...

    def pause(self) -> None:
        """Take no more from the client."""
        ...

    def resume(self) -> None:
        """Take more from the client."""
        ...


class Inflow:
    """Bytes from one reader of a socket to one reader of this.

    ``size`` is how much has come. ``is_full`` is whether the client waits for us, not we for it.
    ``ended`` is whether the body is complete, ``has_body`` whether the request announced one.
    """

    __slots__ = (
        "_held",
        "_parts",
        "_source",
        "_waiter",
        "_wanted",
        "bytes_max",
        "ended",
        "has_body",
        "is_full",
        "size",
    )

    def __init__(self, bytes_max: int, *, has_body: bool) -> None:
        self.bytes_max = bytes_max
        self.has_body = has_body
        self.size = 0
        self.ended = False
        self.is_full = False
        self._held = 0
        self._parts: deque[bytes] = deque()
        self._wanted = False
        self._source: Source | None = None
        self._waiter: asyncio.Future[None] | None = None

    def connect(self, source: Source) -> None:
        """Name where the bytes come from."""
        self._source = source

    def feed(self, data: bytes) -> None:
        """Some bytes have come."""
        self.size += len(data)
        self._held += len(data)
        self._parts.append(data)
        if self._held >= HELD_BYTES_MAX and not self.is_full and self._source is not None:
            self.is_full = True
            self._source.pause()
        self._wake()

    def end(self) -> None:
        """The body is complete."""
        self.ended = True
        self._wake()

    async def read(self) -> bytes:
        """What has come since the last time, b"" at the end."""
        source = self._source
        if not self._wanted and source is not None and self.has_body:
            self._wanted = True
            source.want_body()
        while not self._parts and not self.ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if not self._parts:
            return b""
        part = self._parts.popleft()
        self._held -= len(part)
        if self._held < HELD_BYTES_MAX:
            self._resume()
        return part

    def close(self) -> None:
        """Nobody reads any more."""
        self._parts.clear()
        self._held = 0
        self._resume()

    def _resume(self) -> None:
        if self.is_full and self._source is not None:
            self.is_full = False
            self._source.resume()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
