"""The real HTTP server on a free port of the loopback."""

import contextlib
import socket
from collections.abc import AsyncIterator

from router.ingress.http1 import App, HTTPServer
from router.settings import Limits


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
