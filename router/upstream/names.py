"""What names of workers mean: each looked up once for all who wait, and never in others' way."""

import asyncio
import socket
from collections.abc import Mapping

from router.domain.addresses import AddressPolicy
from router.ports.upstream import UpstreamFailed
from router.upstream.connection import Origin

RESOLVED_S = 30.0
"""How long the addresses of a name are used before they are resolved again."""

LATE_S = 0.25
"""After so long without an answer, the addresses of before are used meanwhile."""

LOOKUPS_MAX = 1_000
"""More than any fleet has names."""

Lookup = asyncio.Task[list[str]]


class Names:
    """The addresses of hosts, as far as the policy of a scheme allows them.

    The loop runs few look-ups at once, and one goes on though nobody waits any more. So there is
    one for each origin, and ``at_once_max`` in all. It is waited for ``within_s``, or for
    :data:`LATE_S` where addresses are known: these stay in use while name servers are silent.
    """

    def __init__(
        self,
        policies: Mapping[str, AddressPolicy],
        *,
        within_s: float,
        at_once_max: int = LOOKUPS_MAX,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._policies = policies
        self._within_s = within_s
        self._room = asyncio.Semaphore(at_once_max)
        self._known: dict[Origin, tuple[float, list[str]]] = {}
        self._running: dict[Origin, Lookup] = {}

    async def of(self, origin: Origin) -> list[str]:
        """The addresses of an origin, from a recent look-up if there is one.

        Raises ``UpstreamFailed`` if none is allowed or the name is invalid, ``OSError`` if the name
        is unknown or nobody says in time what it means.
        """
        known = self._known.get(origin)
        if known is not None and self._loop.time() < known[0]:
            return known[1]
        running = self._running.get(origin)
        if running is None:
            running = self._running[origin] = self._loop.create_task(self._look_up(origin))
            running.add_done_callback(lambda done: self._looked_up(origin, done))
        elif known is not None:
            return known[1]
        await asyncio.wait({running}, timeout=self._within_s if known is None else LATE_S)
        known = self._known.get(origin)
        if known is not None:
            return known[1]
        if not running.done():
            raise TimeoutError
        return running.result()

    def doubt(self, origin: Origin) -> None:
        """Nobody answers there: look it up again before it is used."""
        known = self._known.get(origin)
        if known is not None:
            self._known[origin] = (0.0, known[1])

    def close(self) -> None:
        """End every look-up."""
        for running in self._running.values():
            running.cancel()

    async def _look_up(self, origin: Origin) -> list[str]:
        scheme, host, port = origin
        await self._room.acquire()
        try:
            return await _resolve(self._policies[scheme], host, port)
        finally:
            self._room.release()

    def _looked_up(self, origin: Origin, done: Lookup) -> None:
        del self._running[origin]
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._known[origin] = (self._loop.time() + RESOLVED_S, done.result())
        elif not _is_unanswered(error):
            self._known.pop(origin, None)


async def _resolve(policy: AddressPolicy, host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise UpstreamFailed("bad_url", "a worker's host is no name") from error
    allowed = [
        address
        for address in dict.fromkeys(str(info[4][0]) for info in found)
        if policy.allows(address)
    ]
    if not allowed:
        raise UpstreamFailed("address_refused", "see ROUTER_UPSTREAM_NETWORKS")
    return allowed


def _is_unanswered(error: BaseException) -> bool:
    """Whether name servers are out of reach, which says nothing about the name."""
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
