"""One call of the router for a prediction, in a thread apart from the one for the database.

What comes is put into ``pieces`` as it comes. The call lingers in the router if this process dies,
so that the next attempt with the same key gets its answer, and nothing is charged twice.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from marketplace.inference.callers import Caller
from marketplace.inference.router_client import RouterClient, RouterUnreachable
from marketplace.inference.tokens import CallerGone
from marketplace.predictions.calls.answers import (
    AnswerBroken,
    Served,
    Standing,
    StreamedAnswer,
    error_message,
    served_by_headers,
    served_by_route,
    whole_output,
)
from marketplace.predictions.calls.call import Call
from marketplace.shared.jobs.services import UNEXPECTED

LINGER_S = 120
"""How long a call goes on in the router after this process died: until another has taken it up."""
HANG_UP_S = 5.0
"""The longest that ending a call takes."""
LINGERS: Mapping[str, str] = {"X-Route-Linger-S": str(LINGER_S)}
FOLLOWED: Mapping[str, str] = {**LINGERS, "X-Route-Explain": "1", "X-Route-Progress": "1"}
CANCELS: Mapping[str, str] = {"X-Route-Cancel": "1"}
STREAM_TRIES = 3
"""How often a stream that breaks off is asked for again, with the same Idempotency-Key."""
AGAIN = frozenset(
    {"ledger_unavailable", "no_eligible_worker", "not_ready", "queue_full", "rate_limited"}
    | {"own_endpoint_away", "own_endpoint_full", "router_busy", "worker_failed"}
)
"""Errors of a stream that waited, after which it is asked for again until its deadline."""
AGAIN_S = 2.0
ERROR_BYTES_MAX = 64 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask the router for. ``bytes_max`` bounds the output.

    ``traceparent`` is the trace that the call belongs to, ``response_id`` the id that a response
    gets.
    """

    caller: Caller
    call: Call
    priority: str
    idempotency_key: str
    deadline_s: float
    bytes_max: int
    traceparent: str
    response_id: str = ""

    def headers(self, more: Mapping[str, str]) -> Mapping[str, str]:
        """Those, and its own."""
        own = {"X-Route-Response": self.response_id} if self.response_id else {}
        return {**more, **own, "traceparent": self.traceparent}


@dataclass(frozen=True, slots=True)
class Waits:
    """The router has the call, and lets it wait where ``standing`` says so."""

    request_id: str
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer begins. After a break it begins again, from its start."""

    served: Served


@dataclass(frozen=True, slots=True)
class Chunks:
    """Pieces of the output, as JSON texts, and the output so far."""

    texts: list[str]
    output: Any


@dataclass(frozen=True, slots=True)
class Answered:
    """The whole output."""

    output: Any
    served: Served


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no answer; the message says why."""

    message: str


Piece = Waits | Begun | Chunks | Answered | Refused
"""The last two are the last of a conversation."""


class Conversation:
    """Talks to the router from its start to its end, or until it is ended from outside."""

    def __init__(self, order: Order) -> None:
        self.pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self._order = order
        self._has_output = False
        self._ended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="router-call", daemon=True)

    def __enter__(self) -> Conversation:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Hang up, if the call still runs: the router ends it and bills by its rule."""
        with suppress(RuntimeError):  # The loop is closed: it has ended by itself.
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def next(self, timeout_s: float) -> Piece | None:
        """What came next; None if nothing did in time."""
        try:
            return self.pieces.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_ended())

    async def _until_ended(self) -> None:
        talk, ended = asyncio.create_task(self._talk()), asyncio.create_task(self._ended.wait())
        await asyncio.wait({talk, ended}, return_when=asyncio.FIRST_COMPLETED)
        talk.cancel()
        ended.cancel()
        await asyncio.wait({talk, ended})

    async def _talk(self) -> None:
        try:
            async with RouterClient() as client:
                self.pieces.put(await self._answered(client))
        except asyncio.CancelledError:
            return
        except (AnswerBroken, CallerGone, RouterUnreachable) as error:
            self.pieces.put(Refused(str(error)))
        except Exception:
            log.exception("a call of the router")
            self.pieces.put(Refused(UNEXPECTED))

    async def _answered(self, client: RouterClient) -> Piece:
        answered = self._streamed if self._order.call.streams else self._whole
        try:
            return await answered(client)
        except BaseException:
            # Nobody wants the rest of the answer.
            await self._hang_up(client)
            raise

    async def _hang_up(self, client: RouterClient) -> None:
        """Tell the router to end the call, which would linger."""
        order = self._order
        with suppress(CallerGone, RouterUnreachable):
            await client.call(
                order.caller,
                order.call.path,
                order.call.body,
                deadline_s=HANG_UP_S,
                idempotency_key=order.idempotency_key,
                headers=order.headers(CANCELS),
            )

    async def _whole(self, client: RouterClient) -> Piece:
        order = self._order
        answer = await client.call(
            order.caller,
            order.call.path,
            order.call.body,
            deadline_s=order.deadline_s,
            idempotency_key=order.idempotency_key,
            priority=order.priority,
            headers=order.headers(LINGERS),
        )
        if answer.status != HTTPStatus.OK:
            return Refused(error_message(answer.body)[0])
        if len(answer.body) > order.bytes_max:
            raise _too_long(order)
        output = whole_output(order.call.path, answer.body)
        return Answered(output, served_by_headers(answer.headers))

    async def _streamed(self, client: RouterClient) -> Piece:
        until_s, breaks = self._loop.time() + self._order.deadline_s, 0
        while True:
            try:
                return await self._streamed_once(client, until_s - self._loop.time())
            except RouterUnreachable:
                breaks += 1
                if breaks >= STREAM_TRIES or self._loop.time() >= until_s:
                    raise
            except AnswerBroken as error:
                again_s = self._loop.time() + AGAIN_S
                if self._has_output or error.code not in AGAIN or again_s >= until_s:
                    raise
                await asyncio.sleep(AGAIN_S)

    async def _streamed_once(self, client: RouterClient, deadline_s: float) -> Piece:
        order = self._order
        async with client.stream(
            order.caller,
            order.call.path,
            order.call.body,
            deadline_s=deadline_s,
            idempotency_key=order.idempotency_key,
            priority=order.priority,
            headers=order.headers(FOLLOWED),
        ) as answer:
            if answer.status != HTTPStatus.OK:
                return Refused(error_message(await _bounded(answer.chunks))[0])
            # The head knows the time to the first byte, not that of the whole answer.
            served = replace(served_by_headers(answer.headers), predict_ms=None)
            streamed, size, has_begun = StreamedAnswer(), 0, False
            async for data in answer.chunks:
                size += len(data)
                if size > order.bytes_max:
                    raise _too_long(order)
                if texts := streamed.feed(data):
                    if not has_begun:
                        self.pieces.put(Begun(served))
                    has_begun = self._has_output = True
                    self.pieces.put(Chunks(texts, streamed.output))
                elif not has_begun:
                    self.pieces.put(Waits(served.request_id, streamed.standing))
            if not streamed.is_whole:
                raise RouterUnreachable("the answer broke off")
            return Answered(streamed.output, served_by_route(served, streamed.route))


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    body = b""
    async for data in chunks:
        body = (body + data)[:ERROR_BYTES_MAX]
    return body


def _too_long(order: Order) -> AnswerBroken:
    return AnswerBroken(f"The answer is longer than the {order.bytes_max:,} bytes that are kept.")
