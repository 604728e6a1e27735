"""Calls workers over HTTP/1.1: URLs, pooled connections, and what a bad answer means."""

import asyncio
import re
import ssl
from functools import lru_cache
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct

from router.contracts.lenient import Fields, fields_of, object_of, objects_of, text_of
from router.contracts.wire import UNREADABLE
from router.domain.addresses import AddressPolicy
from router.domain.errors import CONTEXT_EXCEEDED
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.connection import Connection, Origin
from router.upstream.names import LOOKUPS_MAX, Names

REFUSALS = frozenset({400, 413, 415, 422})
"""With these statuses a worker says that the request itself is wrong."""

NO_FAULT = frozenset({404, 405, 429})
"""With these statuses a sound worker says that it cannot serve this call: another one may."""

RETRY_AFTER_MAX_S = 60.0
"""The longest that a worker's own ``Retry-After`` keeps requests away from it."""

DETAIL_BYTES_MAX = 2_000
IDLE_S = 30.0
"""How long an unused connection is kept."""

SWEEPS = 10
SWEEP_S_MAX = 0.5
"""An exceeded limit on silence is noticed within a fraction of the limit, and within this time."""

TARGETS_MAX = 10_000

UNAVAILABLE = 503
FULL = "maximum queue size"
"""Triton says so if it has no room: nothing is wrong with it, nor with the request."""


class Target(Struct, frozen=True):
    """A parsed URL. ``line`` is the request from its path to the headers that differ."""

    origin: Origin
    line: bytes


CONTEXT_TYPE = "exceed_context_size_error"
"""llama.cpp's type for the same error."""

_says_context_exceeded = re.compile(
    "maximum context length|context (size|length|window) (is )?exceeded"
    "|exceeds? the available context|longer than the model's context"
).search


@lru_cache(TARGETS_MAX)
def target_of(url: str) -> Target:
    """Raises ``UpstreamFailed`` for a URL that cannot be called."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        path = (parts.path or "/").encode("ascii")
        netloc = parts.netloc.rpartition("@")[2].encode("ascii" if host.isascii() else "idna")
    except ValueError as error:
        raise UpstreamFailed("bad_url", str(error)) from error
    if parts.scheme not in ("http", "https") or not host or any(byte <= 32 for byte in path):
        raise UpstreamFailed("bad_url", "a worker's URL is http(s)://host[:port]/path")
    query = f"?{parts.query}".encode("ascii") if parts.query else b""
    line = b"%s%s HTTP/1.1\r\nHost: %s\r\n" % (path, query, netloc)
    origin = (parts.scheme, host, port or (443 if parts.scheme == "https" else 80))
    return Target(origin, line)


class HTTPClient:
    """Pooled connections to workers, for the duration of an ``async with``.

    Only the scheduler's slots limit their number. ``policy`` is asked about the very address that
    is connected to, so that a name cannot mean one host when checked and another when called.
    ``plain`` is asked instead for a URL that is not ``https``. At most ``lookups_max`` names are
    looked up at once.
    """

    def __init__(
        self,
        limits: Limits,
        policy: AddressPolicy,
        *,
        plain: AddressPolicy | None = None,
        silence_s: float | None = None,
        lookups_max: int = LOOKUPS_MAX,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect_s = limits.connect_timeout_s
        self._names = Names(
            {"https": policy, "http": plain or policy},
            within_s=self._connect_s,
            at_once_max=lookups_max,
        )
        self._silence_s = silence_s or limits.silence_timeout_s
        self._idle: dict[Origin, list[Connection]] = {}
        self._all: set[Connection] = set()
        self._tls: ssl.SSLContext | None = None
        self._sweep_s = min(SWEEP_S_MAX, self._silence_s / SWEEPS)
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)

    async def post(self, url: str, headers: bytes, body: bytes) -> Connection:
        """Send, and return the connection once the head of the answer is there.

        ``headers`` are whole lines. The caller ends with :meth:`release` in any case. Raises
        ``UpstreamFailed``.
        """
        target = target_of(url)
        framed = target.line, headers, len(body), body
        return await self._send(target.origin, b"POST %s%sContent-Length: %d\r\n\r\n%s" % framed)

    async def get(self, url: str, headers: bytes) -> Connection:
        """Like :meth:`post`, with ``GET`` and no body."""
        target = target_of(url)
        return await self._send(target.origin, b"GET %s%s\r\n" % (target.line, headers))

    async def _send(self, origin: Origin, request: bytes) -> Connection:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.is_open:
                continue
            try:
                await connection.send(request)
                return connection
            except UpstreamFailed as error:
                # The worker may have closed a kept connection at this moment.
                if error.reason != "reset" or not connection.was_silent:
                    raise
        connection = await self._connect(origin)
        await connection.send(request)
        return connection

    def release(self, connection: Connection) -> None:
        """The caller is done: keep the connection if it can be used again, otherwise close it."""
        if connection.finish():
            self._idle.setdefault(connection.origin, []).append(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every connection."""
        self._sweeper.cancel()
        self._names.close()
        for connection in list(self._all):
            connection.close()

    async def _connect(self, origin: Origin) -> Connection:
        scheme, host, port = origin
        tls = self._tls_context() if scheme == "https" else None
        try:
            async with asyncio.timeout(self._connect_s):
                error: OSError = OSError("no address")
                for address in await self._names.of(origin):
                    try:
                        _, connection = await self._loop.create_connection(
                            lambda: Connection(self._loop, origin, self._lost),
                            address,
                            port,
                            ssl=tls,
                            server_hostname=host if tls else None,
                        )
                    except OSError as failed:
                        error = failed
                        continue
                    self._all.add(connection)
                    return connection
        except TimeoutError as late:
            raise UpstreamFailed("connect", "timed out") from late
        except OSError as failed:
            error = failed
        raise UpstreamFailed("connect", type(error).__name__) from error

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)

    def _sweep(self) -> None:
        """End connections that were silent or unused for too long."""
        now_s = self._loop.time()
        for connection in list(self._all):
            connection.watch_sending()
            quiet_s = now_s - connection.heard_s
            if connection.is_busy:
                if quiet_s >= self._silence_s and not connection.is_paused:
                    connection.fail(UpstreamFailed("timeout"))
            elif quiet_s >= IDLE_S:
                connection.close()
        for idle in self._idle.values():
            idle[:] = [connection for connection in idle if connection.is_open]
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)


async def post_for_answer(
    client: HTTPClient, url: str, headers: bytes, body: bytes, bytes_max: int
) -> tuple[dict[bytes, bytes], bytes]:
    """The headers and the body of a 200 answer. Any other ending is an upstream error.

    A cancellation closes the connection, which tells the worker to stop.
    """
    connection = await client.post(url, headers, body)
    try:
        if connection.status != 200:
            await raise_for_status(connection)
        return connection.headers, await connection.read(bytes_max)
    finally:
        client.release(connection)


async def raise_for_status(connection: Connection) -> None:
    """Raise the error that a status other than 200 stands for."""
    status, detail = connection.status, b""
    if status in REFUSALS or status == UNAVAILABLE:
        while len(detail) < DETAIL_BYTES_MAX and (more := await connection.chunk()) is not None:
            detail += more
    if status in REFUSALS:
        raise _refusal(status, detail)
    raise UpstreamFailed(
        f"http_{status}",
        is_fault=status not in NO_FAULT and FULL.encode() not in detail,
        retry_after_s=_seconds(connection.headers.get(b"retry-after", b"")),
    )


def header_lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Header lines as sent. Raises ``UpstreamRefused`` for a value with a line break."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise UpstreamRefused(422, "a header value contains a line break")
    return lines.encode("latin-1")


def _seconds(retry_after: bytes) -> float:
    """A whole number of seconds, as servers send it. A date is not supported."""
    return min(float(retry_after), RETRY_AFTER_MAX_S) if retry_after.isdigit() else 0.0


def _refusal(status: int, body: bytes) -> UpstreamRefused:
    """The refusal in the worker's words: ``{"error": {"message", "code", "param"}}`` (OpenAI),
    ``{"error": "…"}`` (OIP), ``{"message": "…"}`` (older vLLM), ``{"detail": …}`` (FastAPI).
    """
    try:
        fields = fields_of(body)
    except UNREADABLE:
        fields = {}
    error = object_of(fields.get("error")) or fields
    found = (fields.get("error"), error.get("message"), error.get("detail"), _first_detail(error))
    message = next((_sayable(text) for text in found if isinstance(text, str) and text), "")
    if message and (_says_context_exceeded(message) or error.get("type") == CONTEXT_TYPE):
        return UpstreamRefused(400, message, code=CONTEXT_EXCEEDED, param="messages")
    code, param = text_of(error.get("code")), text_of(error.get("param"))
    return UpstreamRefused(
        status,
        message or "the model refused the request",
        code=_sayable(code or ""),
        param=_sayable(param) if param is not None else None,
    )


def _sayable(text: str) -> str:
    """A worker's words without halves of surrogate pairs, which no answer can carry."""
    return text.encode(errors="replace").decode()


def _first_detail(error: Fields) -> object:
    details = objects_of(error.get("detail"))
    return details[0].get("msg") if details else None
