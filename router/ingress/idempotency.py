"""``Idempotency-Key``: a repeated request is one call, and gets the answer of the first.

Only whole answers with status 200 are kept, for a day. A call that failed, broke off or was larger
than the bound is forgotten, so that another try runs it.

A client that may die and ask again can have its call linger: it goes on for some time after the
client left, and its answer is kept as usual. Such a client ends a call by saying so.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from hashlib import sha256
from uuid import uuid4

from router.domain.errors import (
    IdempotencyInFlight,
    IdempotencyMismatch,
    LedgerUnavailable,
    RequestInvalid,
)
from router.ingress.faces.table import ALL
from router.ingress.http.exchange import Exchange, Headers, Sink, has_type
from router.pipeline.plans.routing_table import Grant
from router.ports.idempotency import Claim, Claimant, ClaimState, IdempotencyStore, KeptAnswer
from router.settings import Limits

HEADER = b"idempotency-key"
LINGER = b"x-route-linger-s"
"""For how many seconds a call goes on after its client left."""
CANCEL = b"x-route-cancel"
"""Ends the call that runs under the key, instead of beginning one."""
LINGER_S_MAX = 600
LINGERING_MAX = 256
"""The most calls that go on without their clients. One beyond them ends as its client leaves."""
REPLAYED = ("idempotent-replayed", "true")
KEY_BYTES_MAX = 255
ENDINGS = tuple({face.ending for face in ALL if face.ending})
"""A stream that ends with one of these is complete."""

RENEWALS = 3
"""How many times a claim is renewed before it would expire."""
END_S = 1.0
"""How long a client's next call on its connection waits until an answer is kept.

Also the pause between tries to keep it while the store is away.
"""
WATCH_S = 1.0
"""How often a router that drains looks whether its calls were asked to end."""
ENDINGS_MAX = 64
"""The most answers that wait to be kept."""
ABANDONED_MAX = 256
"""The most claims without a call that wait to be forgotten. One beyond them expires."""

log = logging.getLogger(__name__)

STREAM: tuple[str, str] = ("content-type", "text/event-stream; charset=utf-8")


class Recording:
    """A client that passes on an answer and keeps it, up to a bound."""

    def __init__(self, client: Sink, bytes_max: int) -> None:
        self._client = client
        self._bytes_max = bytes_max
        self._status = 0
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._size = 0
        self._streams = self._breaks = False

    @property
    def kept(self) -> KeptAnswer | None:
        """The whole answer, if it may be given again."""
        body = b"".join(self._parts)
        if self._status != 200 or self._size > self._bytes_max:
            return None
        if self._breaks or (self._streams and not body.endswith(ENDINGS)):
            return None
        return KeptAnswer(self._status, tuple(self._headers), body)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        self._status, self._headers = status, headers
        self._take(body)
        await self._client.answer(status, headers, body)

    async def start_stream(self, headers: Headers) -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        self._status, self._headers = 200, headers
        if has_type(headers):
            self._breaks = True  # Until it has ended: nothing in the bytes tells.
        else:
            self._headers, self._streams = [*headers, STREAM], True
        await self._client.start_stream(headers)

    async def send(self, chunk: bytes) -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        self._take(chunk)
        await self._client.send(chunk)

    async def end_stream(self, last: bytes = b"") -> None:
        """See :class:`router.ingress.http.exchange.Sink`."""
        self._breaks = False
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
        self._ending: set[asyncio.Future[None]] = set()
        self._abandoned: set[asyncio.Future[None]] = set()
        self._running: dict[tuple[str, str], tuple[asyncio.Future[None], Claimant]] = {}
        self._lingering: set[asyncio.Future[None]] = set()

    async def once(
        self, exchange: Exchange, grant: Grant, run: Callable[[Sink], Awaitable[None]]
    ) -> None:
        """Give the kept answer, or run the call and keep its answer.

        Raises ``IdempotencyInFlight`` or ``IdempotencyMismatch``, or ``LedgerUnavailable`` if the
        store cannot be asked.
        """
        claimant = Claimant(_scope(grant), _key(exchange), str(uuid4()))
        linger_s = _linger_s(exchange)
        fingerprint = sha256(exchange.path.encode() + b"\0" + exchange.body).hexdigest()
        claim = await self._claim(claimant, fingerprint)
        if claim.state is ClaimState.RUNNING:
            raise IdempotencyInFlight(
                f"the call with Idempotency-Key {claimant.key!r} still runs, try again",
                retry_after_s=1,
            )
        if claim.state is ClaimState.OTHER:
            raise IdempotencyMismatch(
                f"Idempotency-Key {claimant.key!r} was used for another request; use a new one",
                param="Idempotency-Key",
            )
        if claim.answer is not None:
            answer = claim.answer
            return await exchange.answer(answer.status, [*answer.headers, REPLAYED], answer.body)
        recording = Recording(exchange, self._limits.idempotent_bytes_max)
        running = asyncio.ensure_future(run(recording))
        self._running[claimant.scope, claimant.key] = running, claimant
        serving = self._serving(running, claimant, fingerprint, recording)
        if not linger_s:
            return await serving
        task = asyncio.ensure_future(serving)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The client left: nobody awaits the task any more.
            may_linger = len(self._lingering) < LINGERING_MAX
            self._lingering.add(task)
            task.add_done_callback(self._left_alone)
            asyncio.get_running_loop().call_later(linger_s if may_linger else 0, running.cancel)
            raise

    def cancel(self, exchange: Exchange, grant: Grant) -> bool:
        """End the call that runs here under the key of this request; False if there is none."""
        running = self._running.get((_scope(grant), _key(exchange)))
        return running is not None and running[0].cancel()

    async def cancel_anywhere(self, exchange: Exchange, grant: Grant) -> bool:
        """Ask the call under the key to end by way of the store; False if none runs.

        Its router may not be reachable: one that drains looks, the others do as they renew it.
        """
        try:
            return await self._store.end(_scope(grant), _key(exchange))
        except LedgerUnavailable:
            return False

    async def watch(self) -> None:
        """End the calls here that were asked to end, until this is cancelled.

        For a router that drains: no other can reach it any more.
        """
        while True:
            for running, claimant in list(self._running.values()):
                with contextlib.suppress(LedgerUnavailable):
                    if await self._store.is_ended(claimant):
                        running.cancel()
            await asyncio.sleep(WATCH_S)

    async def _claim(self, claimant: Claimant, fingerprint: str) -> Claim:
        """Take the key, or see who has it.

        The key may be taken though the client has left or the store went away: then no call runs
        under it, and it is free again once the store can be told.
        """
        claiming = asyncio.ensure_future(
            self._store.claim(claimant, fingerprint, self._limits.idempotency_claim_s)
        )
        try:
            return await asyncio.shield(claiming)
        except (asyncio.CancelledError, LedgerUnavailable):
            if len(self._abandoned) < ABANDONED_MAX:
                abandoned = asyncio.ensure_future(self._abandon(claimant, claiming))
                self._abandoned.add(abandoned)
                abandoned.add_done_callback(self._abandoned.discard)
            raise

    async def _abandon(self, claimant: Claimant, claiming: asyncio.Future[Claim]) -> None:
        await asyncio.wait({claiming})
        if not claiming.cancelled():
            claiming.exception()  # The client was told, or has left.
        await self._ended(claimant, None)

    async def _serving(
        self,
        running: asyncio.Future[None],
        claimant: Claimant,
        fingerprint: str,
        recording: Recording,
    ) -> None:
        try:
            await self._renewing(running, claimant, fingerprint)
        finally:
            running.cancel()
            await asyncio.wait({running})
            self._running.pop((claimant.scope, claimant.key), None)
            await self._end(claimant, recording)

    def _left_alone(self, task: asyncio.Future[None]) -> None:
        self._lingering.discard(task)
        if not task.cancelled():
            task.exception()  # Nobody else asks for it: the client left.

    async def _renewing(
        self, running: asyncio.Future[None], claimant: Claimant, fingerprint: str
    ) -> None:
        """Wait for the call and renew its claim on the key while it runs.

        Raises ``IdempotencyInFlight`` if another call took the key over while it could not be
        renewed. The other call answers then; the rest of this one would be charged twice.
        """
        claim_s = self._limits.idempotency_claim_s
        while not (await asyncio.wait({running}, timeout=claim_s / RENEWALS))[0]:
            try:
                claim = await self._store.claim(claimant, fingerprint, claim_s)
            except LedgerUnavailable:
                log.warning("an Idempotency-Key could not be renewed, its call goes on")
                continue
            if claim.state is not ClaimState.NEW and not running.done():
                raise IdempotencyInFlight(
                    f"another call took Idempotency-Key {claimant.key!r} over, try again",
                    retry_after_s=1,
                )
        await running

    async def _end(self, claimant: Claimant, recording: Recording) -> None:
        """The call is over in some way: keep its answer or forget the claim.

        While the store is away, this goes on beside the next calls. A call whose answer is not kept
        would be charged again.
        """
        if len(self._ending) >= ENDINGS_MAX:
            log.error("too many answers wait to be kept: one is not, and may run again")
            return
        ending = asyncio.ensure_future(self._ended(claimant, recording.kept))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.wait({ending}, timeout=END_S)

    async def _ended(self, claimant: Claimant, kept: KeptAnswer | None) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._limits.idempotency_claim_s
        while True:
            try:
                if kept is None:
                    return await self._store.forget(claimant)
                return await self._store.keep(claimant, kept, self._limits.idempotency_ttl_s)
            except LedgerUnavailable:
                if loop.time() + END_S >= until_s:
                    log.error("the end of a call could not be kept for its Idempotency-Key")
                    return
                await asyncio.sleep(END_S)


def _linger_s(exchange: Exchange) -> int:
    header = exchange.header(LINGER)
    if not header:
        return 0
    if not header.isascii() or not header.isdigit() or not 0 < int(header[:9]) <= LINGER_S_MAX:
        raise RequestInvalid(
            f"x-route-linger-s must be whole seconds from 1 to {LINGER_S_MAX}, not {header[:20]!r}",
            param="x-route-linger-s",
        )
    return int(header[:9])


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
