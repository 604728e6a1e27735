"""One hop to the router that owns a model, for calls that land on another.

The owner does everything: it authenticates, holds, places and settles. This router only carries
bytes, and tells its own clients what the owner says.
"""

import hmac
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from hashlib import sha256

import aiohttp

from router.domain.errors import WorkerFailed
from router.ingress.exchange import Exchange
from router.pipeline.cluster import ClusterView
from router.ports import Member
from router.settings import Limits

FORWARDED = b"x-switchyard-forwarded"
"""Proves that a call has had its hop; its value is secret to the routers of one installation."""

UP = (
    b"authorization",
    b"content-type",
    b"inference-header-content-length",
    b"x-route-explain",
)
DOWN = ("content-type", "inference-header-content-length", "retry-after", "server-timing")
CHUNK_BYTES = 64 * 1024


class Forwarder:
    """Carries calls to the owners of their models."""

    def __init__(
        self, view: ClusterView, session: aiohttp.ClientSession, pepper: bytes, limits: Limits
    ) -> None:
        self._view = view
        self._session = session
        self._proof = hmac.new(pepper, b"forwarded call", sha256).hexdigest()
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=limits.connect_timeout_s,
            # The owner may let the call wait in its queue and then wait for its worker.
            sock_read=limits.queue_wait_s + limits.silence_timeout_s,
        )

    @property
    def routers(self) -> Iterable[str]:
        """Ids of the routers that are known to be there."""
        return self._view.members

    async def forwarded(self, exchange: Exchange, model: str, body: bytes) -> bool:
        """Have the owner answer; False when this router must do so itself.

        An owner that cannot be reached is done without; one that breaks off is not tried again,
        since it may have done the work. Raises ``WorkerFailed`` then.
        """
        if hmac.compare_digest(exchange.header(FORWARDED), self._proof):
            return False
        while (member := self._view.elsewhere(model)) is not None:
            try:
                async with self._posted(member, exchange, body) as response:
                    await _relay(response, exchange)
            except aiohttp.ClientConnectorError:
                self._view.suspect(member)
                continue
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._view.suspect(member)
                raise WorkerFailed(
                    "the router that had this call went away, try again", retry_after_s=1
                ) from error
            return True
        return False

    @asynccontextmanager
    async def _posted(
        self, member: Member, exchange: Exchange, body: bytes
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        headers = {n.decode(): exchange.header(n) for n in UP if n in exchange.headers}
        headers[FORWARDED.decode()] = self._proof
        async with self._session.post(
            member.url + exchange.path,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=self._timeout,
        ) as response:
            yield response


async def _relay(response: aiohttp.ClientResponse, exchange: Exchange) -> None:
    headers = [
        (name.lower(), value)
        for name, value in response.headers.items()
        if name.lower() in DOWN or name.lower().startswith("x-")
    ]
    if response.content_type != "text/event-stream":
        # The owner has checked its size against the same bound.
        return await exchange.answer(response.status, headers, await response.read())
    await exchange.start_stream([(n, v) for n, v in headers if n != "content-type"])
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        await exchange.send(chunk)
    await exchange.end_stream()
