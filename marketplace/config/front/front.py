"""Buffers requests and answers, so that no thread waits for a client.

A thread that reads from a client or writes to it waits as long as the client does, so a few slow
clients could block every thread. Here one event loop waits for all clients, within bounds, and
threads only compute. For the same reason the loop waits where an answer is held open until
something changes (`marketplace/shared/held.py`).
"""

import asyncio
import io
import sys
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Iterable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from math import inf
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO, Any, Protocol
from urllib.parse import unquote_to_bytes

from marketplace.config.errors.refusals import Refusal, refusal, too_large
from marketplace.config.front.listening import Listener
from marketplace.shared.held import ENVIRON, Held

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Environ = dict[str, Any]
WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

CHUNK_BYTES = 64 * 1024
ANSWER_IN_MEMORY_BYTES = 1024 * 1024
"""A longer answer, such as a CSV file of calls, is buffered on disk."""
HELD_MAX = 1_000
"""Answers that a process holds open at a time. Beyond it an answer is as if nobody held it."""
LOOK_EVERY_S = 5.0
"""How often what an answer is held for is looked at, should no word of its change come."""


class _ClientLeft(Exception):
    """The client has disconnected."""


class _Refused(Exception):
    def __init__(self, refused: Refusal) -> None:
        self.refused = refused


@dataclass(slots=True)
class _Body:
    """What has arrived of a body, and what may still arrive and by when."""

    file: IO[bytes]
    bytes_max: int
    seconds: float
    on_disk: bool = False
    size: int = 0
    bytes_per_s_min: float = inf

    @property
    def due_s(self) -> float:
        """How long after its head the rest may come: what came earns it more time."""
        return self.seconds + self.size / self.bytes_per_s_min

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.size += len(chunk)


@dataclass(frozen=True, slots=True)
class Uploads:
    """Paths whose bodies are buffered on disk, and their bounds in place of the usual ones.

    One may take any time, but comes at ``bytes_per_s_min`` after ``body_s`` seconds, else 408. So
    many of them are taken at once, else 503 with ``Retry-After``. The body of a request that
    ``admits`` is False for has the usual bounds; it is asked in a thread.
    """

    paths: Set[str]
    body_bytes_max: int
    body_s: float
    bytes_per_s_min: float
    at_once: int
    admits: Callable[[dict[str, Any]], bool] = lambda scope: True


class Listens(Protocol):
    """Hears of changes: :class:`marketplace.config.front.listening.Listener`."""

    def listening(self, topic: str) -> AbstractContextManager[asyncio.Event]:
        """Yield an event that is set whenever the topic changed."""
        ...


NO_UPLOADS = Uploads(frozenset(), 0, 0.0, inf, 0)


class Front:
    """An ASGI application around a WSGI one (PEP 3333).

    A body must arrive within ``body_s`` seconds of its headers, else 408, and may have
    ``body_bytes_max`` bytes, else 413. All bodies that are incomplete or wait for a thread may
    have ``bodies_bytes_max`` together, else 503 with ``Retry-After``.
    """

    def __init__(
        self,
        application: WsgiApplication,
        *,
        threads: int,
        body_bytes_max: int,
        bodies_bytes_max: int,
        body_s: float,
        uploads: Uploads = NO_UPLOADS,
        listener: Listens | None = None,
    ) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="page")
        self._body_bytes_max = body_bytes_max
        self._bodies_bytes_max = bodies_bytes_max
        self._body_s = body_s
        self._bodies_bytes = 0
        self._uploads = uploads
        self._uploading = 0
        self._held = 0
        self._listener = listener or Listener()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served here, not {scope['type']}")
        try:
            with (self._on_disk if await self._is_upload(scope) else self._in_memory)(
                scope["path"]
            ) as body:
                await self._read_in_time(scope, receive, body)
                body.file.seek(0)
                held = await self._serve(environ_of(scope, body), send)
            if held is not None:
                await self._go_on(held, receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except _Refused as error:
            await _refuse(send, error.refused)
        except _ClientLeft:
            return

    async def _is_upload(self, scope: dict[str, Any]) -> bool:
        if scope["method"] != "POST" or scope["path"] not in self._uploads.paths:
            return False
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._uploads.admits, scope)

    @contextmanager
    def _in_memory(self, path: str) -> Iterator[_Body]:
        body = _Body(io.BytesIO(), self._body_bytes_max, self._body_s)
        try:
            yield body
        finally:
            self._bodies_bytes -= body.size

    @contextmanager
    def _on_disk(self, path: str) -> Iterator[_Body]:
        if self._uploading >= self._uploads.at_once:
            full = "Too many files are on their way here. Try again in a moment."
            raise _Refused(refusal(path, HTTPStatus.SERVICE_UNAVAILABLE, full, retry_after_s=5))
        self._uploading += 1
        try:
            with TemporaryFile() as file:
                yield _Body(
                    file,
                    self._uploads.body_bytes_max,
                    self._uploads.body_s,
                    on_disk=True,
                    bytes_per_s_min=self._uploads.bytes_per_s_min,
                )
        finally:
            self._uploading -= 1

    async def _read_in_time(self, scope: dict[str, Any], receive: Receive, body: _Body) -> None:
        try:
            async with asyncio.timeout(body.seconds) as deadline:
                await self._read(scope, receive, body, deadline)
        except TimeoutError:
            late = f"The body was not here within {body.due_s:.3g} s."
            raise _Refused(refusal(scope["path"], HTTPStatus.REQUEST_TIMEOUT, late)) from None

    async def _read(
        self, scope: dict[str, Any], receive: Receive, body: _Body, deadline: asyncio.Timeout
    ) -> None:
        path, begun_s = scope["path"], asyncio.get_running_loop().time()
        if _declared(scope) > body.bytes_max:
            raise _Refused(too_large(path, body.bytes_max))
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            chunk = message.get("body", b"")
            if body.size + len(chunk) > body.bytes_max:
                raise _Refused(too_large(path, body.bytes_max))
            if not body.on_disk:
                self._take_memory(path, len(chunk))
            body.write(chunk)
            deadline.reschedule(begun_s + body.due_s)
            more = message.get("more_body", False)

    def _take_memory(self, path: str, size: int) -> None:
        if self._bodies_bytes + size > self._bodies_bytes_max:
            full = "Too many bodies are on their way here. Try again in a moment."
            raise _Refused(refusal(path, HTTPStatus.SERVICE_UNAVAILABLE, full, retry_after_s=1))
        self._bodies_bytes += size

    async def _serve(self, environ: Environ, send: Send) -> Held | None:
        """Send the answer; returns its rest, where it is held open."""
        loop = asyncio.get_running_loop()
        with SpooledTemporaryFile(ANSWER_IN_MEMORY_BYTES) as answer:
            start = await loop.run_in_executor(self._threads, self._compute, environ, answer)
            held: Held | None = environ.get(ENVIRON) if self._held < HELD_MAX else None
            if held is not None:
                # Its length is not known yet.
                start["headers"] = [h for h in start["headers"] if h[0] != b"content-length"]
            await send(start)
            if held is None or held.streams:
                answer.seek(0)
                while chunk := answer.read(CHUNK_BYTES):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        return held

    async def _go_on(self, held: Held, receive: Receive, send: Send) -> None:
        """Send the rest of a held answer as it comes. Raises ``_ClientLeft``."""
        left = asyncio.ensure_future(_left(receive))
        self._held += 1
        try:
            with self._listener.listening(held.topic) as changed:
                await self._steps(held, changed, left, send)
        finally:
            self._held -= 1
            left.cancel()

    async def _steps(
        self, held: Held, changed: asyncio.Event, left: asyncio.Future[None], send: Send
    ) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + held.seconds
        while True:
            changed.clear()
            is_late = loop.time() >= until_s
            look = partial(held.step, is_late=is_late)
            step = await loop.run_in_executor(self._threads, look)
            if step.body:
                await send({"type": "http.response.body", "body": step.body, "more_body": True})
            if step.is_over or is_late:
                return
            hearing = asyncio.ensure_future(changed.wait())
            either: set[asyncio.Future[Any]] = {hearing, left}
            timeout_s = max(0.0, min(LOOK_EVERY_S, until_s - loop.time()))
            await asyncio.wait(either, timeout=timeout_s, return_when=FIRST_COMPLETED)
            hearing.cancel()
            if left.done():
                raise _ClientLeft

    def _compute(self, environ: Environ, answer: SpooledTemporaryFile[bytes]) -> dict[str, Any]:
        """Run the application to its end in a thread, which also closes the answer's queries."""
        start: dict[str, Any] = {}

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> Callable[[bytes], object]:
            start.update(
                type="http.response.start",
                status=int(status.split(" ", 1)[0]),
                headers=[
                    # Django puts a space before a cookie's value.
                    (name.lower().encode("latin-1"), value.strip().encode("latin-1"))
                    for name, value in headers
                ],
            )
            return answer.write

        chunks = self._application(environ, start_response)
        try:
            for chunk in chunks:
                answer.write(chunk)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return start


async def _left(receive: Receive) -> None:
    """Return once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _declared(scope: dict[str, Any]) -> int:
    """The Content-Length of a request; 0 without one."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send, refused: Refusal) -> None:
    headers = {**refused.headers, "Content-Length": str(len(refused.body)), "Connection": "close"}
    await send(
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": refused.body, "more_body": False})


def environ_of(scope: dict[str, Any], body: _Body) -> Environ:
    """The WSGI environment for an ASGI scope whose body has been read."""
    host, port = scope.get("server") or ("localhost", 80)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        # WSGI passes the bytes of a path as Latin-1.
        "PATH_INFO": _path_bytes(scope).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("", 0))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body.file,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        # WSGI cannot tell "X_Forwarded_For" from "X-Forwarded-For".
        if b"_" in name or name == b"content-length":
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        between = "; " if key == "HTTP_COOKIE" else ","
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]}{between}{text}" if key in environ else text
    # The length that was read, as a chunked body declares none.
    environ["CONTENT_LENGTH"] = str(body.size) if body.size else ""
    return environ


def _path_bytes(scope: dict[str, Any]) -> bytes:
    raw = scope.get("raw_path")
    return unquote_to_bytes(raw) if raw else scope["path"].encode("utf-8", "surrogateescape")
