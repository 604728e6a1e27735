"""An application behind the HTTP server, and bytes on the wire to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from msgspec import structs

from router.domain.errors import CallError
from router.ingress.errors import error_headers, openai_error
from router.ingress.http.exchange import Exchange, Headers
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.serving import serving

LIMITS = Limits(body_bytes_max=1_000, header_bytes_max=2_000, idle_timeout_s=0.4)
SHORT = structs.replace(LIMITS, header_timeout_s=0.2, body_timeout_s=0.2, client_stall_s=0.3)
"""For what is about time alone: a machine that pauses for so long is not rare."""
POST = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi"


class App:
    """Echoes the body, streams without end at ``/endless``, waits for ever at ``/wait``, and after
    its answer at ``/after`` until ``put_away``.
    """

    def __init__(self) -> None:
        self.called: list[tuple[str, bytes]] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.put_away = asyncio.Event()
        self.sent = 0

    def admit(self, exchange: Exchange) -> None:
        return

    async def __call__(self, exchange: Exchange) -> None:
        self.called.append((exchange.path, exchange.body))
        self.begun.set()
        try:
            if exchange.path == "/wait":
                await asyncio.Event().wait()
            elif exchange.path == "/endless":
                await exchange.start_stream([])
                while True:
                    await exchange.send(b"x" * 65_536)
                    self.sent += 65_536
            elif exchange.path == "/events":
                await exchange.start_stream([("x-a", "b")])
                await exchange.send(b"data: 1\n\n")
                await exchange.end_stream(b"data: 2\n\n")
            else:
                await exchange.answer(200, [("x-path", exchange.path)], exchange.body)
            if exchange.path == "/after":
                await self.put_away.wait()
        except asyncio.CancelledError:
            self.cancelled.set()

    def refusal(self, exchange: Exchange, error: CallError) -> tuple[int, Headers, bytes]:
        return error.status, error_headers(error), openai_error(error)


@contextlib.asynccontextmanager
async def connected(
    app: App | None = None, limits: Limits = LIMITS
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(app or App(), limits) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def said(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server closes."""
    with contextlib.suppress(OSError):
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    return b""


async def exchange_of(raw: bytes, app: App | None = None, limits: Limits = LIMITS) -> bytes:
    async with connected(app, limits) as (reader, writer):
        writer.write(raw)
        return await said(reader)
