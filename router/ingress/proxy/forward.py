"""Forwards a call to the router that owns its model, one hop.

The owner does everything: it authenticates, holds, places and settles. This router only carries
the bytes both ways.
"""

import asyncio
import hmac
from hashlib import sha256
from urllib.parse import quote

from router.domain.errors import WorkerFailed
from router.ingress.http.exchange import Exchange, Headers
from router.pipeline.client import Client
from router.pipeline.fleet.cluster import ClusterView
from router.ports.cluster import Member
from router.ports.upstream import UpstreamFailed
from router.upstream.connection import Connection
from router.upstream.http import HTTPClient, header_lines

FORWARDED = b"x-waypost-forwarded"
"""Proves that a call has had its hop. Only the routers of one installation know its value."""

UP = (
    b"authorization",
    b"content-type",
    b"http-referer",
    b"idempotency-key",
    b"inference-header-content-length",
    b"traceparent",
    b"x-api-key",
    b"x-end-user",
    b"x-route-cancel",
    b"x-route-explain",
    b"x-route-linger-s",
    b"x-route-priority",
    b"x-route-progress",
    b"x-route-quote",
    b"x-route-response",
    b"x-title",
)
DOWN = (
    "content-type",
    "inference-header-content-length",
    "retry-after",
    "server-timing",
    "x-should-retry",
)
ACCEPT = b"accept"
TRACEPARENT = "traceparent"
EVENTS = "text/event-stream"
OK = 200
ASK_S = 1.0
"""The longest wait for what other routers know of a call."""


class Forwarder:
    """Carries calls to the owners of their models."""

    def __init__(
        self, view: ClusterView, client: HTTPClient, pepper: bytes, answer_bytes_max: int
    ) -> None:
        self._view = view
        self._client = client
        self._answer_bytes_max = answer_bytes_max
        self._proof = hmac.new(pepper, b"forwarded call", sha256).hexdigest().encode()

    async def forwarded(self, exchange: Exchange, model: str) -> bool:
        """Let the owner answer. False if this router must answer itself.

        An owner that cannot be reached is skipped. Raises ``WorkerFailed`` if the owner breaks off:
        it may have done the work, so it is not tried again.
        """
        if self._is_forwarded(exchange):
            return False
        connection = await self._posted(model, exchange.path, _upward(exchange), exchange.body)
        if connection is None:
            return False
        try:
            await self._relay(connection, exchange)
        except UpstreamFailed as error:
            raise _gone() from error
        finally:
            self._client.release(connection)
        return True

    async def asked(self, exchange: Exchange, target: str) -> bytes | None:
        """The body that another router answers to a ``GET`` of this path and query, or None.

        All other routers are asked, with the client's own credential. None of them asks further.
        """
        return next(iter(await self._answers(exchange, target)), None)

    async def told(self, exchange: Exchange) -> list[bytes]:
        """What the other routers answer with 200 to this very ``POST``, as in :meth:`asked`."""
        return await self._answers(exchange, quote(exchange.path), exchange.body)

    async def fetched(
        self, model: str, path: str, headers: Headers, body: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes] | None:
        """Status, headers and body of the owner's whole answer; None if this router must answer.

        Raises ``WorkerFailed`` if the owner breaks off.
        """
        connection = await self._posted(model, path, headers, body)
        if connection is None:
            return None
        try:
            answer = await connection.read(self._answer_bytes_max)
            return connection.status, connection.headers, answer
        except UpstreamFailed as error:
            raise _gone() from error
        finally:
            self._client.release(connection)

    async def streamed(
        self, model: str, path: str, headers: Headers, body: bytes, client: Client
    ) -> tuple[int, bytes] | None:
        """Send the owner's answers to ``client`` as they come; None as in :meth:`fetched`.

        Returns the owner's status, and the body if the status is not 200.
        """
        connection = await self._posted(model, path, [*headers, (ACCEPT.decode(), EVENTS)], body)
        if connection is None:
            return None
        try:
            if connection.status != OK:
                return connection.status, await connection.read(self._answer_bytes_max)
            while (chunk := await connection.chunk()) is not None:
                await client.send(chunk)
        except UpstreamFailed as error:
            raise _gone() from error
        finally:
            self._client.release(connection)
        await client.end_stream()
        return OK, b""

    def streams(self, exchange: Exchange) -> bool:
        """Whether another router wants each answer of this inference as an event."""
        return exchange.header(ACCEPT) == EVENTS and self._is_forwarded(exchange)

    async def _posted(
        self, model: str, path: str, headers: Headers, body: bytes
    ) -> Connection | None:
        """A connection to the owner that has begun to answer; None if there is no other owner."""
        lines = self._lines(headers)
        while (member := self._view.elsewhere(model)) is not None:
            try:
                return await self._client.post(member.url + quote(path), lines, body)
            except UpstreamFailed as error:
                self._view.suspect(member)
                if error.reason != "connect":
                    raise _gone() from error
        return None

    async def _answers(
        self, exchange: Exchange, target: str, body: bytes | None = None
    ) -> list[bytes]:
        if self._is_forwarded(exchange):
            return []
        lines = self._lines(_upward(exchange))
        asking = (self._asked(member, target, lines, body) for member in self._view.others)
        return [answer for answer in await asyncio.gather(*asking) if answer is not None]

    async def _asked(
        self, member: Member, target: str, lines: bytes, body: bytes | None
    ) -> bytes | None:
        connection, url = None, member.url + target
        try:
            async with asyncio.timeout(ASK_S):
                if body is None:
                    connection = await self._client.get(url, lines)
                else:
                    connection = await self._client.post(url, lines, body)
                known = connection.status == OK
                return await connection.read(self._answer_bytes_max) if known else None
        except (TimeoutError, UpstreamFailed):
            return None  # A router that does not know counts like one that is not there.
        finally:
            if connection is not None:
                self._client.release(connection)

    def _lines(self, headers: Headers) -> bytes:
        return header_lines((*headers, (FORWARDED.decode(), self._proof.decode())))

    def _is_forwarded(self, exchange: Exchange) -> bool:
        """Whether another router sent this, which it proves by a secret."""
        return hmac.compare_digest(exchange.headers.get(FORWARDED, b""), self._proof)

    async def _relay(self, connection: Connection, exchange: Exchange) -> None:
        headers = [
            (name, value.decode("latin-1"))
            for raw, value in connection.headers.items()
            if (name := raw.decode("latin-1")) in DOWN or name.startswith("x-")
        ]
        kind = dict(headers).get("content-type", "")
        if b"content-length" in connection.headers or not kind:
            body = await connection.read(self._answer_bytes_max)
            return await exchange.answer(connection.status, headers, body)
        headers = [(name, value) for name, value in headers if name != "content-type"]
        if not kind.startswith(EVENTS):
            headers.append(("content-type", kind))
        await exchange.start_stream(headers)
        while (chunk := await connection.chunk()) is not None:
            await exchange.send(chunk)
        await exchange.end_stream()


def _upward(exchange: Exchange) -> Headers:
    return [(n.decode(), exchange.header(n)) for n in UP if n in exchange.headers]


def _gone() -> WorkerFailed:
    return WorkerFailed("the router that had this call went away, try again", retry_after_s=1)
