"""The real HTTP server on a free port of the loopback."""

import contextlib
import socket
import time
from collections.abc import AsyncIterator

import httpx

from router.adapters.memory import MemoryIdempotencyStore
from router.ingress.account import Account
from router.ingress.api import API
from router.ingress.http1 import App, HTTPServer
from router.ingress.idempotency import Idempotency
from router.ingress.operations import Operations
from router.settings import Limits
from tests.unit.router.pipeline.line import Line

ADMIN_TOKEN = "admin"


@contextlib.asynccontextmanager
async def serving(
    app: App, limits: Limits, *, cors_origins: tuple[str, ...] = ()
) -> AsyncIterator[int]:
    """Serve ``app`` for the time of the block, on the port that is given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = HTTPServer(app, limits, frozenset(cors_origins))
    await server.listen("127.0.0.1", port)
    try:
        yield port
    finally:
        server.stop_listening()
        server.close()


@contextlib.asynccontextmanager
async def calling(
    line: Line, limits: Limits | None = None, cors_origins: tuple[str, ...] = ()
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole API over a line."""
    limits = limits or Limits()
    operations = Operations(
        line.gateway,
        line.dispatcher,
        line.meters,
        limits=limits,
        admin_token=ADMIN_TOKEN,
        unsettled=lambda: 0,
        routers=lambda: (),
    )
    account = Account(line.gateway, line.recent, line.ledger)
    idempotency = Idempotency(MemoryIdempotencyStore(time.monotonic), limits)
    api = API(line.gateway, operations, account, idempotency, limits=limits)
    async with (
        serving(api, limits, cors_origins=cors_origins) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client
