"""``Idempotency-Key``: the same request twice is one call, and the second gets the first's answer.

Only whole answers with status 200 are kept, for a day. What failed, broke off or was larger than
the bound is forgotten, so that trying again runs the call.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256

from router.domain.errors import IdempotencyInFlight, IdempotencyMismatch, RequestInvalid
from router.ingress.exchange import Exchange, Headers
from router.pipeline.gateway import Client
from router.pipeline.routing_table import Grant
from router.ports import ClaimState, IdempotencyStore, KeptAnswer
from router.settings import Limits

HEADER = b"idempotency-key"
REPLAYED = ("idempotent-replayed", "true")
KEY_BYTES_MAX = 255
ENDINGS = (b"data: [DONE]\n\n", b'data: {"type":"message_stop"}\n\n')
"""By which a stream is known to have come to its end."""

STREAM: tuple[str, str] = ("content-type", "text/event-stream; charset=utf-8")


class Recording:
    """A client that keeps what it is sent, up to a bound, on its way to another."""

    def __init__(self, client: Client, bytes_max: int) -> None:
        self._client = client
        self._bytes_max = bytes_max
        self._status = 0
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._size = 0
        self._streams = False

    @property
    def kept(self) -> KeptAnswer | None:
        """The whole answer, if it is one that may be given again."""
        body = b"".join(self._parts)
        if self._status != 200 or self._size > self._bytes_max:
            return None
        if self._streams and not body.endswith(ENDINGS):
            return None
        return KeptAnswer(self._status, tuple(self._headers), body)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See :class:`router.pipeline.gateway.Client`."""
        self._status, self._headers = status, headers
        self._take(body)
        await self._client.answer(status, headers, body)

    async def start_stream(self, headers: Headers) -> None:
        """See :class:`router.pipeline.gateway.Client`."""
        self._status, self._headers, self._streams = 200, [*headers, STREAM], True
        await self._client.start_stream(headers)

    async def send(self, chunk: bytes) -> None:
        """See :class:`router.pipeline.gateway.Client`."""
        self._take(chunk)
        await self._client.send(chunk)

    async def end_stream(self, last: bytes = b"") -> None:
        """See :class:`router.pipeline.gateway.Client`."""
        self._take(last)
        await self._client.end_stream(last)

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._bytes_max:
            self._parts.append(data)
        else:
            self._parts.clear()


class Idempotency:
    """Claims keys, replays answers and keeps new ones."""

    def __init__(self, store: IdempotencyStore, limits: Limits) -> None:
        self._store = store
        self._limits = limits

    async def once(
        self, exchange: Exchange, grant: Grant, run: Callable[[Client], Awaitable[None]]
    ) -> None:
        """Give the answer that is kept, or run the call and keep what its client is told.

        Raises ``IdempotencyInFlight`` or ``IdempotencyMismatch``, and ``LedgerUnavailable`` when
        nobody can say which.
        """
        if await self._replayed(exchange, grant):
            return
        recording = Recording(exchange, self._limits.idempotent_bytes_max)
        try:
            await run(recording)
        finally:
            await self._end(exchange, grant, recording)

    async def _replayed(self, exchange: Exchange, grant: Grant) -> bool:
        """Give the kept answer again; False when the call is to run, its key being claimed."""
        scope, key = _scope(grant), _key(exchange)
        fingerprint = sha256(exchange.path.encode() + b"\0" + exchange.body).hexdigest()
        claim = await self._store.claim(scope, key, fingerprint, self._limits.idempotency_claim_s)
        if claim.state is ClaimState.RUNNING:
            raise IdempotencyInFlight(
                f"the call with Idempotency-Key {key!r} still runs, try again", retry_after_s=1
            )
        if claim.state is ClaimState.OTHER:
            raise IdempotencyMismatch(
                f"Idempotency-Key {key!r} was used for another request; use a new one",
                param="Idempotency-Key",
            )
        answer = claim.answer
        if answer is None:
            return False
        await exchange.answer(answer.status, [*answer.headers, REPLAYED], answer.body)
        return True

    async def _end(self, exchange: Exchange, grant: Grant, recording: Recording) -> None:
        """The call is over, however: keep its answer or forget the claim."""
        scope, key = _scope(grant), _key(exchange)
        kept = recording.kept
        ending = (
            self._store.forget(scope, key)
            if kept is None
            else self._store.keep(scope, key, kept, self._limits.idempotency_ttl_s)
        )
        await asyncio.shield(asyncio.ensure_future(ending))


def _scope(grant: Grant) -> str:
    return f"{grant.organisation_id}:{grant.key_id}:{grant.user_id}"


def _key(exchange: Exchange) -> str:
    key = exchange.header(HEADER)
    if len(key) > KEY_BYTES_MAX or not key.isprintable():
        raise RequestInvalid(
            f"Idempotency-Key must be at most {KEY_BYTES_MAX} printable characters",
            param="Idempotency-Key",
        )
    return key
