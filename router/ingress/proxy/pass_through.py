"""Passes requests about jobs, of the kinds in :data:`JOBS`, on to the web process.

So that clients need one address. Bodies go both ways as they come: nothing is parsed, and no more
is held than :data:`router.ingress.http.inflow.HELD_BYTES_MAX` and the buffers of two sockets.
"""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp
from msgspec import Struct
from yarl import URL

from router.domain.errors import CodingUnknown, JobsUnavailable, RouteNotFound, RouterBusy
from router.ingress.http.exchange import BODILESS, Exchange, Headers
from router.ingress.http.inflow import Inflow
from router.settings import Limits

ROOT = "/v1/"
JOBS = frozenset({"batches", "files", "pipelines", "predictions"})
"""What is served by the web process: the first word of a path below ``/v1/``."""
JOBS_NAMED = " and ".join(", ".join(sorted(JOBS)).rsplit(", ", 1))
"""The same for people: "batches, … and predictions"."""

FILES = "/v1/files"
UP = (
    b"accept",
    b"accept-language",
    b"authorization",
    b"cancel-after",
    b"content-type",
    b"idempotency-key",
    b"if-match",
    b"if-none-match",
    b"last-event-id",
    b"prefer",
    b"range",
    b"traceparent",
    b"user-agent",
    b"x-api-key",
)
"""Headers that are passed on. None of a client's own may say where it comes from."""

OURS = (b"authorization", b"idempotency-key", b"traceparent", b"user-agent", b"x-api-key")
"""Those that go with what the router asks itself."""

NOT_DOWN = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}  # These are about one connection (RFC 9110, 7.6.1).
    | {"content-length", "date", "server", "set-cookie", "x-request-id"}
)
"""Headers of the web process that are not passed on, or that the answer has of its own."""

LENGTH = b"content-length"
CODING = b"content-encoding"
IN_CHUNKS = b"transfer-encoding"
PRINTABLE = "".join(map(chr, range(33, 127)))
RETRY_AFTER_S = 5.0
READ_BYTES = 64 * 1024


class Reply(Struct, frozen=True, gc=False):
    """A whole answer of the web process, of any status."""

    status: int
    headers: Headers
    body: bytes


def is_job(exchange: Exchange) -> bool:
    """Whether the web process serves this, and not the router."""
    return exchange.method != "OPTIONS" and is_job_path(exchange.path)


def is_job_path(path: str) -> bool:
    """Whether the path is one of the web process."""
    return path.startswith(ROOT) and path[len(ROOT) :].partition("/")[0] in JOBS


def no_such(exchange: Exchange) -> RouteNotFound:
    """The error for a path or a method that nothing here serves."""
    why = "ROUTER_JOBS_URL is not set" if is_job(exchange) else "see the API reference"
    return RouteNotFound(f"there is no {exchange.method} {exchange.path} here; {why}")


class PassThrough:
    """Connections to the web process at ``url``, within an ``async with``.

    Each request has one of its own: whether a kept one was closed at this moment could not be told
    from a request that was lost on the way.
    """

    def __init__(self, url: str, limits: Limits) -> None:
        self._url = url
        self._limits = limits
        self._running = 0
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._limits.connect_timeout_s, sock_read=None
            ),
            auto_decompress=False,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BYTES,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    def inflow_of(self, exchange: Exchange) -> Inflow:
        """How the body comes. Raises ``CodingUnknown`` or ``RouterBusy``."""
        if CODING in exchange.headers:
            raise CodingUnknown("send this body as it is, without a Content-Encoding")
        self._check_room()
        is_file = exchange.path == FILES and exchange.method == "POST"
        bytes_max = self._limits.file_bytes_max if is_file else self._limits.body_bytes_max
        has_body = IN_CHUNKS in exchange.headers or exchange.header(LENGTH) not in {"", "0"}
        return Inflow(bytes_max, has_body=has_body)

    async def pass_on(self, exchange: Exchange, inflow: Inflow, request_id: str) -> None:
        """Let the web process answer. Raises ``JobsUnavailable`` if it does not."""
        self._running += 1
        body = _Body(inflow)
        try:
            response = await self._answered(exchange, body, request_id)
            try:
                await self._relay(response, exchange, request_id)
            finally:
                response.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unavailable(exchange, error) from error
        finally:
            self._running -= 1

    async def ask(
        self, exchange: Exchange, method: str, path: str, body: bytes = b"", *, wait_s: int = 0
    ) -> Reply:
        """Ask for something on behalf of the caller; its answer may wait for so many seconds.

        Raises ``RouterBusy``, or ``JobsUnavailable`` if there is no whole answer.
        """
        self._check_room()
        headers = {
            name.decode(): exchange.header(name) for name in OURS if name in exchange.headers
        }
        headers |= {"content-type": "application/json"} if body else {}
        headers |= {"prefer": f"wait={wait_s}"} if wait_s else {}
        bytes_max = self._limits.body_bytes_max + self._limits.answer_bytes_max
        self._running += 1
        try:
            async with (
                asyncio.timeout(self._limits.jobs_silence_s + wait_s),
                self._session.request(
                    method,
                    self._url + path,
                    headers=headers,
                    data=body or None,
                    allow_redirects=False,
                ) as response,
            ):
                answer = bytearray()
                async for part in response.content.iter_any():
                    answer += part
                    if len(answer) > bytes_max:
                        raise TimeoutError("it does not end")
                return Reply(response.status, _downward(response), bytes(answer))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unavailable(exchange, error) from error
        finally:
            self._running -= 1

    def _check_room(self) -> None:
        if self._running >= self._limits.jobs_max:
            raise RouterBusy(
                f"{self._limits.jobs_max} requests like this run here, try again", retry_after_s=1
            )

    async def _answered(
        self, exchange: Exchange, body: "_Body", request_id: str
    ) -> aiohttp.ClientResponse:
        """The head of the answer, which may come before the whole body went."""
        asking = asyncio.ensure_future(
            self._session.request(
                "HEAD" if exchange.is_head else exchange.method,
                _url(self._url, exchange),
                headers=_upward(exchange, request_id),
                data=body if body.inflow.has_body else None,
                allow_redirects=False,
            )
        )
        try:
            while not asking.done():
                moved = body.moved
                await asyncio.wait({asking}, timeout=self._limits.jobs_silence_s)
                if not asking.done() and body.moved == moved and not body.is_awaited:
                    raise TimeoutError("it says nothing")
            body.is_over = True
            return await asking
        finally:
            asking.cancel()

    async def _relay(
        self, response: aiohttp.ClientResponse, exchange: Exchange, request_id: str
    ) -> None:
        silence_s = self._limits.jobs_silence_s
        headers = [*_downward(response), ("x-request-id", request_id)]
        exchange.start(response.status, headers, _length(response))
        if not exchange.is_head and response.status not in BODILESS:
            while True:
                async with asyncio.timeout(silence_s):
                    part = await response.content.readany()
                if not part:
                    break
                await exchange.send(part)
        await exchange.end_stream()


class _Body:
    """A request's body on its way up. ``moved`` counts its parts.

    ``is_awaited`` is whether the client is waited for, ``is_over`` whether no more is to go up.
    """

    def __init__(self, inflow: Inflow) -> None:
        self.inflow = inflow
        self.moved = 0
        self.is_awaited = False
        self.is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.is_awaited = True
        part = await self.inflow.read()
        self.is_awaited = False
        self.moved += 1
        if not part or self.is_over:
            raise StopAsyncIteration
        return part


def _url(base: str, exchange: Exchange) -> URL:
    query = f"?{quote(exchange.query, safe=PRINTABLE)}" if exchange.query else ""
    return URL(f"{base}{quote(exchange.path)}{query}", encoded=True)


def _upward(exchange: Exchange, request_id: str) -> dict[str, str]:
    headers = {name.decode(): exchange.header(name) for name in UP if name in exchange.headers}
    length = exchange.header(LENGTH)
    if length and IN_CHUNKS not in exchange.headers:
        headers["content-length"] = length
    return {**headers, "x-request-id": request_id}


def _downward(response: aiohttp.ClientResponse) -> Headers:
    named = {name.strip() for name in response.headers.get("connection", "").lower().split(",")}
    return [
        (name.lower(), value)
        for name, value in response.headers.items()
        if name.lower() not in NOT_DOWN and name.lower() not in named
    ]


def _length(response: aiohttp.ClientResponse) -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def _unavailable(exchange: Exchange, error: Exception) -> JobsUnavailable:
    """To ask again is safe if nothing was sent, or if the request changes nothing."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return JobsUnavailable(f"{JOBS_NAMED} are away", retry_after_s=RETRY_AFTER_S)
    if exchange.method == "GET":
        return JobsUnavailable("the answer broke off, try again", retry_after_s=RETRY_AFTER_S)
    return JobsUnavailable("the answer broke off; look whether it was done before another try")
