"""One HTTP call and its answer, as bytes of any dialect."""

from asyncio import Future
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol

from router.ingress.http.inflow import Inflow
from router.pipeline.plans.routing_table import Grant

Headers = list[tuple[str, str]]

STATUS_LINES: Mapping[int, str] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
EVENT_STREAM = "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
PREFLIGHT: Headers = [
    ("access-control-allow-methods", "GET, POST, DELETE, OPTIONS"),
    ("access-control-max-age", "600"),
]
BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body and no length."""
ANY_ORIGIN = "*"
"""Instead of a list of origins: pages of any origin may call. Keys are not cookies, so a page has
only the key that its user gave it.
"""


def has_type(headers: Headers) -> bool:
    """Whether the last header says that a stream is not made of events."""
    return bool(headers) and headers[-1][0] == "content-type"


class Wire(Protocol):
    """The connection that an answer is written to."""

    def write(self, data: bytes) -> None:
        """Send, unless the client has left."""
        ...

    @property
    def stalled(self) -> Future[None] | None:
        """Done when the client reads again; None while it keeps up."""
        ...


class Sink(Protocol):
    """Takes the bytes of an answer: an exchange, or a recorder in front of one."""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        ...

    async def start_stream(self, headers: Headers) -> None:
        """Begin server-sent events, or bytes if the last header is their content type."""
        ...

    async def send(self, chunk: bytes) -> None:
        """Send some events. Waits while the client is slower than the worker."""
        ...

    async def end_stream(self, last: bytes = b"") -> None:
        """Send the last events and end the answer."""
        ...


class Exchange:
    """A :class:`Sink`.

    ``headers`` have lower-case names. ``grant`` is the caller's, once known. ``doubled`` is a
    header that came twice and must not. ``wants_body`` says whether the body is kept or thrown
    away; with an ``inflow`` it is passed on as it comes. ``keeps`` says whether the connection
    stays open after the answer. ``started`` and ``ended`` tell how far the answer is: one whose
    head cannot be written has not started, so that another can be given.
    """

    __slots__ = (
        "_chunks",
        "_cors_origins",
        "_head",
        "_wire",
        "body",
        "doubled",
        "ended",
        "grant",
        "headers",
        "inflow",
        "is_head",
        "keeps",
        "method",
        "path",
        "query",
        "started",
        "wants_body",
    )

    def __init__(self, wire: Wire, cors_origins: frozenset[str]) -> None:
        self._wire = wire
        self._cors_origins = cors_origins
        self._head = b""
        self.is_head = False
        self._chunks = True
        self.method = ""
        self.path = ""
        self.query = ""
        self.headers: dict[bytes, bytes] = {}
        self.doubled = b""
        self.wants_body = True
        self.inflow: Inflow | None = None
        self.body = b""
        self.grant: Grant | None = None
        self.keeps = False
        self.started = False
        self.ended = False

    def begin(self, method: str, path: str, query: str, *, keeps: bool, chunks: bool) -> None:
        """The head has come. ``HEAD`` is served like ``GET`` without the body."""
        self.is_head = method == "HEAD"
        self._chunks = chunks
        self.method = "GET" if self.is_head else method
        self.path = path
        self.query = query
        self.keeps = keeps and chunks

    def header(self, name: bytes) -> str:
        """A request header by its lower-case name, "" if absent."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def credential(self) -> str:
        """The ``Authorization`` header, or one made from ``x-api-key`` (Anthropic's clients)."""
        key = self.headers.get(b"x-api-key")
        if key is not None and b"authorization" not in self.headers:
            return f"Bearer {key.decode('latin-1')}"
        return self.header(b"authorization")

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        self.answer_now(status, headers, body)
        if (stalled := self._wire.stalled) is not None:
            await stalled

    def answer_now(self, status: int, headers: Headers, body: bytes) -> None:
        """Hand a whole answer to the socket."""
        head = self._rendered(status, headers, f"content-length: {len(body)}\r\n")
        self.started = self.ended = True
        self._wire.write(head if self.is_head else head + body)

    async def start_stream(self, headers: Headers) -> None:
        """Begin server-sent events, or bytes. The head is sent with the first of them."""
        framing = "" if has_type(headers) else EVENT_STREAM
        if self._chunks:
            framing += "transfer-encoding: chunked\r\n"
        self._head = self._rendered(200, headers, framing)
        self.started = True

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begin an answer of any type; ``length`` is None where it is not known before its end."""
        framing = "transfer-encoding: chunked\r\n" if self._chunks else ""
        if length is not None:
            self._chunks = False
            framing = f"content-length: {length}\r\n"
        elif status in BODILESS:
            self._chunks = False
            framing = ""
        head = self._rendered(status, headers, framing)
        self.started = True
        self._wire.write(head)

    async def send(self, chunk: bytes) -> None:
        """Send some events. Waits while the client is slower than the worker."""
        head, self._head = self._head, b""
        if self._chunks:
            self._wire.write(b"%b%x\r\n%b\r\n" % (head, len(chunk), chunk))
        else:
            self._wire.write(head + chunk)
        if (stalled := self._wire.stalled) is not None:
            await stalled

    async def end_stream(self, last: bytes = b"") -> None:
        """Send the last events and end the answer."""
        head, self._head = self._head, b""
        self.ended = True
        if not self._chunks or self.is_head:
            self._wire.write(head + last)
        elif last:
            self._wire.write(b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(last), last))
        else:
            self._wire.write(head + b"0\r\n\r\n")
        if (stalled := self._wire.stalled) is not None:
            await stalled

    async def allow_cross_origin(self) -> None:
        """Answer a CORS preflight. Any header may be sent: each SDK has its own, and those that
        mean nothing here do nothing.
        """
        asked = self.header(b"access-control-request-headers")
        allowed = [("access-control-allow-headers", asked)] if asked else []
        head = self._rendered(204, [*PREFLIGHT, *allowed], "")
        self.started = self.ended = True
        self._wire.write(head)

    def _rendered(self, status: int, headers: Headers, framing: str) -> bytes:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        if lines.count("\n") != len(headers):
            raise ValueError("a header of the answer contains a line break")
        if self.inflow is not None and not self.inflow.ended:
            self.keeps = False  # The rest of the body would be taken for the next request.
        origin = self.headers.get(b"origin")
        cors = _cors_lines(origin.decode("latin-1"), self._cors_origins) if origin else ""
        close = "" if self.keeps else "connection: close\r\n"
        text = f"{STATUS_LINES[status]}{lines}{framing}{cors}{close}\r\n"
        return text.encode("latin-1", "replace")


def _cors_lines(origin: str, allowed: frozenset[str]) -> str:
    if origin not in allowed and ANY_ORIGIN not in allowed:
        return ""
    return (
        f"access-control-allow-origin: {origin}\r\n"
        "access-control-expose-headers: *, retry-after, server-timing, x-request-id\r\n"
        "vary: origin\r\n"
    )
