"""Calls the router on behalf of a job's requester.

By aiohttp, which takes a tenth of httpx's CPU: a batch is tens of thousands of calls.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from django.conf import settings
from django.db import connections

from marketplace.inference.callers import Caller
from marketplace.inference.retries import Retries
from marketplace.inference.tokens import caller_token

CONNECTIONS_MAX = 256
CONNECT_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""The longest whole answer; the router gives none that is longer."""
CHUNK_BYTES = 64 * 1024
CALLERS_MAX = 1_000
"""How many callers' tokens are kept."""
UNAUTHORIZED = 401
BATCH = "batch"
NO_HEADERS: Mapping[str, str] = {}
BROKEN = (aiohttp.ClientError, TimeoutError, OSError)


class RouterUnreachable(Exception):
    """The router gave no answer before the deadline, or broke off one that cannot be repeated."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of any status. The names of ``headers`` are read in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer whose body comes in ``chunks``, which raise :class:`RouterUnreachable`."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class _Call:
    caller: Caller
    path: str
    body: bytes
    headers: Mapping[str, str]


class RouterClient:
    """Pooled connections to ``url`` (the setting WAYPOST_ROUTER_URL), within an ``async with``.

    ``batch`` says that a batch calls, which pays less.
    """

    def __init__(
        self, url: str = "", *, connections_max: int = CONNECTIONS_MAX, batch: bool = False
    ) -> None:
        self._url = (url or settings.WAYPOST_ROUTER_URL).rstrip("/")
        self._connections_max = connections_max
        self._batch = batch
        self._tokens: dict[Caller, tuple[str, float]] = {}
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._opened = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections_max), trust_env=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def call(
        self,
        caller: Caller,
        path: str,
        body: bytes,
        *,
        deadline_s: float,
        idempotency_key: str = "",
        priority: str = BATCH,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        """``POST`` the body and return the answer, of whatever status.

        Within ``deadline_s`` seconds it is sent again after a 409, 429, 502 or 503 whose
        ``Retry-After`` says when, and after a broken connection if it has an ``idempotency_key``
        or was not sent. Raises :class:`RouterUnreachable`, or ``CallerGone``.
        """
        call = _Call(caller, path, body, _headers(headers, idempotency_key, priority))
        retries = Retries(self._now_s() + deadline_s, bool(idempotency_key))
        while True:
            async with self._answered(call, retries) as response:
                try:
                    content = await _whole(response)
                except BROKEN as error:
                    await self._pause_after(error, retries, was_sent=True)
                    continue
                return Answer(response.status, response.headers, content)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        caller: Caller,
        path: str,
        body: bytes,
        *,
        deadline_s: float,
        idempotency_key: str = "",
        priority: str = BATCH,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> AsyncGenerator[StreamedAnswer]:
        """As :meth:`call`, with a body that is read as it comes. What broke off is not repeated."""
        call = _Call(caller, path, body, _headers(headers, idempotency_key, priority))
        retries = Retries(self._now_s() + deadline_s, bool(idempotency_key))
        async with self._answered(call, retries) as response:
            yield StreamedAnswer(response.status, response.headers, _chunks(response))

    @contextlib.asynccontextmanager
    async def _answered(
        self, call: _Call, retries: Retries
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The head of the answer that no further try would change."""
        while True:
            try:
                response = await self._sent(call, retries.until_s - self._now_s())
            except BROKEN as error:
                was_sent = not isinstance(error, aiohttp.ClientConnectorError)
                await self._pause_after(error, retries, was_sent=was_sent)
                continue
            async with response:
                pause_s = retries.after_answer(
                    response.status,
                    _retry_after(response),
                    now_s=self._now_s(),
                    jitter=random.random(),
                )
                if pause_s is None:
                    yield response
                    return
            if response.status == UNAUTHORIZED:
                self._tokens.pop(call.caller, None)
            await asyncio.sleep(pause_s)

    async def _sent(self, call: _Call, left_s: float) -> aiohttp.ClientResponse:
        if self._opened is None:
            raise RuntimeError("a RouterClient is used in an async with")
        headers = {**call.headers, "Authorization": f"Bearer {await self._token(call.caller)}"}
        timeout = aiohttp.ClientTimeout(max(left_s, 0.001), sock_connect=CONNECT_TIMEOUT_S)
        return await self._opened.post(
            self._url + call.path,
            data=call.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        )

    async def _pause_after(self, error: Exception, retries: Retries, *, was_sent: bool) -> None:
        now_s, jitter = self._now_s(), random.random()
        pause_s = retries.after_break(was_sent=was_sent, now_s=now_s, jitter=jitter)
        if pause_s is None:
            raise RouterUnreachable(f"the router broke off: {str(error) or type(error).__name__}")
        await asyncio.sleep(pause_s)

    async def _token(self, caller: Caller) -> str:
        known = self._tokens.get(caller)
        if known is not None and self._now_s() < known[1]:
            return known[0]
        token = await asyncio.to_thread(_token_of, caller, batch=self._batch)
        if len(self._tokens) >= CALLERS_MAX:
            self._tokens.clear()
        self._tokens[caller] = token, self._now_s() + settings.SESSION_TOKEN_TTL_S / 2
        return token

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def _token_of(caller: Caller, *, batch: bool) -> str:
    """In its own thread, whose connection to the database goes back at once."""
    try:
        return caller_token(caller, batch=batch)
    finally:
        connections.close_all()


def _headers(given: Mapping[str, str], idempotency_key: str, priority: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "X-Route-Priority": priority, **given}
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    return headers


def _retry_after(response: aiohttp.ClientResponse) -> str | None:
    if response.headers.get("x-should-retry") == "false":
        return None
    return response.headers.get("retry-after")


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(CHUNK_BYTES):
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise RouterUnreachable(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for part in response.content.iter_any():
            yield part
    except BROKEN as error:
        raise RouterUnreachable(
            f"the router broke off: {str(error) or type(error).__name__}"
        ) from error
