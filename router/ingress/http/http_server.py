"""Listens for clients, enforces the time bounds of their connections, and stops without a reset."""

import asyncio
import contextlib
import os
import socket
from math import inf
from typing import Any

from router.ingress.http.http1 import App, Connection, Shared
from router.ingress.http.http1_bounds import BODY, HEAD
from router.settings import EVERY_INTERFACE, Limits

BACKLOG = 2048
ASK_WITHIN_S = 1.0
"""How long a stopping server waits for connected clients that have not asked yet."""

SWEEP_S = 1.0
SWEEPS = 4
"""An exceeded time bound is noticed within this fraction of it (one in ``SWEEPS``)."""


class HTTPServer:
    """Listens for connections and enforces their time bounds."""

    def __init__(self, app: App, limits: Limits, cors_origins: frozenset[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self.shared = Shared(app, limits, cors_origins)
        # Compiled code insists on asyncio's tuple of sockets; uvloop's servers have a list.
        self._servers: list[Any] = []
        self._sweep_s = min(SWEEP_S, min(self.shared.bounds_s.values()) / SWEEPS)
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int, *, shares: bool = False) -> None:
        """Begin to accept connections.

        If it ``shares`` the port with other processes, the kernel gives each its part of them.
        """
        # The loop takes "::" for IPv6 alone, and no host for a socket of each family.
        where = None if host == EVERY_INTERFACE else host
        server = await self._loop.create_server(
            lambda: Connection(self.shared), where, port, backlog=BACKLOG, reuse_port=shares
        )
        self._servers.append(server)
        if self._sweeper is None:
            self._sweep()

    async def stop_listening(self) -> None:
        """Accept no more connections, and no more calls on those that are open.

        A client that has connected may be about to ask, and a reset would not tell it whether its
        call began. So each such connection is served once more, if it asks within a second.
        """
        self.shared.closing = True
        for server in self._servers:
            listening = [
                socket.socket(fileno=os.dup(listener.fileno())) for listener in server.sockets
            ]
            server.close()
            await asyncio.gather(*(self._take(connected) for connected in _waiting(listening)))
        self._servers.clear()
        await asyncio.sleep(0)  # What the loop has accepted is a connection in its next turn.
        for connection in list(self.shared.connections):
            connection.close_if_idle(self._loop.time() - ASK_WITHIN_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_WITHIN_S):
                while any(
                    connection.phase is HEAD or connection.phase is BODY
                    for connection in self.shared.connections
                ):
                    self.shared.moved.clear()
                    await self.shared.moved.wait()
        for connection in list(self.shared.connections):
            connection.close_if_idle(inf)
        await asyncio.sleep(0)  # The call of a request that came last begins then, too.

    async def _take(self, connected: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: Connection(self.shared), connected)

    def close(self) -> None:
        """Stop enforcing time bounds, and end the connections that are left once they are sent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.shared.connections):
            connection.end()

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for connection in list(self.shared.connections):
            connection.overdue(now_s)
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)


def _waiting(listening: list[socket.socket]) -> list[socket.socket]:
    """Connections that the kernel accepted before these sockets closed, but the server has not."""
    found: list[socket.socket] = []
    for listener in listening:
        with listener, contextlib.suppress(BlockingIOError):
            listener.setblocking(False)
            while True:
                found.append(listener.accept()[0])
    return found
