"""One hop to the router that owns a model, for calls that land on another.

The owner does everything: it authenticates, holds, places and settles. This router only carries
bytes, and tells its own clients what the owner says.
"""

import hmac
from hashlib import sha256
from urllib.parse import quote

from router.domain.errors import WorkerFailed
from router.ingress.exchange import Exchange, Headers
from router.pipeline.cluster import ClusterView
from router.ports import UpstreamFailed
from router.upstream.connection import Connection
from router.upstream.http import HTTPClient, header_lines

FORWARDED = b"x-switchyard-forwarded"
"""Proves that a call has had its hop; its value is secret to the routers of one installation."""

UP = (
    b"authorization",
    b"content-type",
    b"idempotency-key",
    b"inference-header-content-length",
    b"traceparent",
    b"x-api-key",
    b"x-route-explain",
)
DOWN = ("content-type", "inference-header-content-length", "retry-after", "server-timing")
EVENTS = "text/event-stream"


class Forwarder:
    """Carries calls to the owners of their models."""

    def __init__(
        self, view: ClusterView, client: HTTPClient, pepper: bytes, answer_bytes_max: int
    ) -> None:
        self._view = view
        self._client = client
        self._answer_bytes_max = answer_bytes_max
        self._proof = hmac.new(pepper, b"forwarded call", sha256).hexdigest()

    async def forwarded(self, exchange: Exchange, model: str) -> bool:
        """Have the owner answer; False when this router must do so itself.

        An owner that cannot be reached is done without; one that breaks off is not tried again,
        since it may have done the work. Raises ``WorkerFailed`` then.
        """
        if hmac.compare_digest(exchange.header(FORWARDED), self._proof):
            return False
        headers = [(n.decode(), exchange.header(n)) for n in UP if n in exchange.headers]
        connection = await self._posted(model, exchange.path, headers, exchange.body)
        if connection is None:
            return False
        try:
            await self._relay(connection, exchange)
        except UpstreamFailed as error:
            raise _gone() from error
        finally:
            self._client.release(connection)
        return True

    async def fetched(
        self, model: str, path: str, headers: Headers, body: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes] | None:
        """Status, headers and body of the owner's whole answer; None when this router is to do it.

        Raises ``WorkerFailed`` when the owner breaks off.
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

    async def _posted(
        self, model: str, path: str, headers: Headers, body: bytes
    ) -> Connection | None:
        """The connection to the owner that has begun to answer; None when there is no other."""
        lines = header_lines((*headers, (FORWARDED.decode(), self._proof)))
        while (member := self._view.elsewhere(model)) is not None:
            try:
                return await self._client.post(member.url + quote(path), lines, body)
            except UpstreamFailed as error:
                self._view.suspect(member)
                if error.reason != "connect":
                    raise _gone() from error
        return None

    async def _relay(self, connection: Connection, exchange: Exchange) -> None:
        headers = [
            (name, value.decode("latin-1"))
            for raw, value in connection.headers.items()
            if (name := raw.decode("latin-1")) in DOWN or name.startswith("x-")
        ]
        if not dict(headers).get("content-type", "").startswith(EVENTS):
            body = await connection.read(self._answer_bytes_max)
            return await exchange.answer(connection.status, headers, body)
        await exchange.start_stream([(n, v) for n, v in headers if n != "content-type"])
        while (chunk := await connection.chunk()) is not None:
            await exchange.send(chunk)
        await exchange.end_stream()


def _gone() -> WorkerFailed:
    return WorkerFailed("the router that had this call went away, try again", retry_after_s=1)
