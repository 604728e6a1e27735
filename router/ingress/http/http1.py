"""HTTP/1.1 for clients, parsed by llhttp: one call at a time on a connection, everything bounded.

A call begins when its body is complete, or with its head where the body is passed on as it comes,
and is cancelled when its client leaves. A slow client delays only its own call, and only as long as
the bounds allow. Of pipelined requests one is answered, and then the connection is closed: honest
clients do not pipeline, request smugglers do.
"""

import asyncio
from typing import Protocol, cast

import httptools

from router.domain.errors import (
    CallError,
    RequestMalformed,
    RouterBusy,
)
from router.ingress.http.exchange import Exchange, Headers
from router.ingress.http.http1_bounds import (
    BODY,
    CALL,
    CLOSING,
    HEAD,
    IDLE,
    REFUSED,
    Phase,
    bounds_s,
    headers_too_large,
    too_large,
    too_slow,
    wire_bytes_max,
)
from router.ingress.http.inflow import Inflow
from router.ingress.http.request_target import path_and_query
from router.settings import Limits

FRAMED_BY = (b"content-length", b"transfer-encoding")
"""The headers that say where a body ends."""

SEPARATORS = len(b": \r\n")
"""The bytes of a header line besides its name and value."""

ONCE = frozenset(
    {b"host", b"authorization", b"x-api-key", b"content-type", b"content-encoding"}
    | {b"idempotency-key", b"inference-header-content-length"}
)
"""Headers that must not come twice: we and a proxy before us could each use a different one."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class App(Protocol):
    """What the server serves."""

    def admit(self, exchange: Exchange) -> None:
        """The head has come. Raises a ``CallError`` to refuse the call before its body is read."""
        ...

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one call. Raises nothing."""
        ...

    def refusal(self, exchange: Exchange, error: CallError) -> tuple[int, Headers, bytes]:
        """Status, headers and body of an error, for this client."""
        ...


class Shared:
    """What the connections of one server share. ``moved`` is set when one enters another
    phase while the server stops.
    """

    def __init__(self, app: App, limits: Limits, cors_origins: frozenset[str]) -> None:
        self.app = app
        self.limits = limits
        self.cors_origins = cors_origins
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.pending_bytes = 0  # Of incoming bodies and of running calls.
        self.closing = False
        self.moved = asyncio.Event()
        self.bounds_s = bounds_s(limits)


class Connection(asyncio.Protocol):
    """One client's connection. ``since_s`` is when its phase began, on the loop's clock.

    ``stalled`` is done when the client reads again; None while it keeps up.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_exchange",
        "_head_bytes",
        "_held",
        "_is_last",
        "_is_lost",
        "_parser",
        "_shared",
        "_target",
        "_task",
        "_transport",
        "_wire_bytes",
        "phase",
        "since_s",
        "stalled",
        "stalled_s",
    )
    __deletable__ = ("_parser",)
    """For mypyc: see :meth:`connection_lost`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self.stalled: asyncio.Future[None] | None = None
        self._target = b""
        self._wire_bytes = self._head_bytes = 0
        self._held: list[bytes] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._is_last = self._is_lost = False
        self.phase = HEAD
        self.since_s = shared.loop.time()
        self.stalled_s = 0.0

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._shared.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._is_lost = True
        # The parser refers to this object: without the deletion both stay until a collection.
        del self._parser
        self._shared.connections.discard(self)
        self._shared.moved.set()
        self.resume_writing()
        self._held.clear()
        answered = self._exchange is not None and self._exchange.ended
        if self._task is None:
            self._let_body_go()
            self._exchange = None
        elif not answered:
            self._task.cancel()

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self.stalled_s = self._shared.loop.time()
        self.stalled = self._shared.loop.create_future()

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self.stalled_s = 0.0
        if self.stalled is not None:
            if not self.stalled.done():
                self.stalled.set_result(None)
            self.stalled = None

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        phase = self.phase
        if phase is REFUSED or phase is CLOSING or (phase is CALL and self._hold(data)):
            return
        if phase is IDLE:
            self._enter(HEAD)
        if phase is not CALL:
            self._wire_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if self.phase is CALL:
                self._is_last = True  # Bytes after a request do not spoil its answer.
                return
            self._refuse(RequestMalformed(f"this is not HTTP/1.1: {error}"))
            return
        limits = self._shared.limits
        if self._wire_bytes <= limits.header_bytes_max:
            return
        if self.phase is HEAD:
            self._refuse(headers_too_large(limits))
        elif self.phase is BODY:
            self._check_wire(self._exchange)

    def _check_wire(self, exchange: Exchange | None) -> None:
        inflow = exchange.inflow if exchange is not None else None
        bytes_max = self._shared.limits.body_bytes_max if inflow is None else inflow.bytes_max
        if self._wire_bytes > wire_bytes_max(self._shared.limits, bytes_max):
            self._refuse(too_large(bytes_max))

    def _parse(self, data: bytes) -> None:
        """Raises httptools' ``HttpParserError``."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            # There is no other protocol to upgrade to, so the call itself is served. This parser
            # takes the following bytes for that protocol's, so another parser reads the body.
            (begin,) = offer.args
            exchange = self._exchange
            if self.phase is BODY and exchange is not None:
                framing = [(name, exchange.headers.get(name)) for name in FRAMED_BY]
                lines = [b"%s: %s\r\n" % line for line in framing if line[1] is not None]
                self._parser = httptools.HttpRequestParser(self)
                self._parse(b"POST / HTTP/1.1\r\n%s\r\n%s" % (b"".join(lines), data[begin:]))

    # For the parser

    def on_message_begin(self) -> None:
        """A request begins. One that comes before the last was answered is not read."""
        if self._exchange is not None:
            self._is_last = self._is_last or self.phase is CALL
            return
        self._target = b""
        self._head_bytes = 0
        self._exchange = Exchange(self, self._shared.cors_origins)

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        if self.phase is HEAD:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        exchange = self._exchange
        if self.phase is not HEAD or exchange is None:
            return
        name = name.lower()
        self._head_bytes += len(name) + len(value) + SEPARATORS
        if name in ONCE and name in exchange.headers:
            exchange.doubled = name
        exchange.headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is complete."""
        exchange = self._exchange
        if self.phase is not HEAD or exchange is None:
            return
        parser = self._parser
        is_old = parser.get_http_version() == "1.0"
        exchange.begin(
            parser.get_method().decode("ascii"),
            *path_and_query(self._target),
            keeps=parser.should_keep_alive() and not self._shared.closing,
            chunks=not is_old,
        )
        if not is_old and b"host" not in exchange.headers:
            return self._refuse(RequestMalformed("this has no Host header; send one"))
        self._enter(BODY)
        try:
            self._check_head(exchange)
            self._shared.app.admit(exchange)
            self._check_size(exchange)
        except CallError as error:
            self._refuse(error)
            return
        if exchange.inflow is None:
            return self.want_body()
        exchange.inflow.connect(self)
        self._task = self._shared.loop.create_task(self._serve(exchange))

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        exchange = self._exchange
        if self.phase is not BODY or exchange is None or not exchange.wants_body:
            return
        if exchange.inflow is not None:
            return self._pass_on(body, exchange.inflow)
        self._body.append(body)
        self._body_bytes += len(body)
        shared = self._shared
        shared.pending_bytes += len(body)
        if self._body_bytes > shared.limits.body_bytes_max:
            self._refuse(too_large(shared.limits.body_bytes_max))
        elif shared.pending_bytes > shared.limits.pending_body_bytes_max:
            self._refuse(
                RouterBusy(
                    "bodies of other calls fill what there is here, try again", retry_after_s=1
                )
            )

    def _pass_on(self, body: bytes, inflow: Inflow) -> None:
        self.since_s = self._shared.loop.time()  # What comes on is not too slow, however large.
        if inflow.size + len(body) > inflow.bytes_max:
            return self._refuse(too_large(inflow.bytes_max))
        inflow.feed(body)

    def on_message_complete(self) -> None:
        """The request is complete: begin to serve it."""
        exchange = self._exchange
        if self.phase is not BODY or exchange is None or self._parser.should_upgrade():
            return
        if exchange.inflow is not None:
            exchange.inflow.end()
            return self._enter(CALL)
        exchange.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._enter(CALL)
        loop = self._shared.loop
        self._task = loop.create_task(self._serve(exchange))

    # For the body that is passed on

    def want_body(self) -> None:
        """See :class:`router.ingress.http.inflow.Source`."""
        expect = self._exchange and self._exchange.headers.get(b"expect")
        if expect and expect.lower() == b"100-continue" and self.phase is BODY:
            self._transport.write(CONTINUE)

    def pause(self) -> None:
        """See :class:`router.ingress.http.inflow.Source`."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """See :class:`router.ingress.http.inflow.Source`."""
        self.since_s = self._shared.loop.time()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # For the exchange

    def write(self, data: bytes) -> None:
        """Send, unless the client has left."""
        if not self._transport.is_closing():
            self._transport.write(data)
        elif self.stalled is None and not self._is_lost:
            # A sender must wait here, or the loop could not tell it that the client left.
            self.stalled = self._shared.loop.create_future()

    # For the server

    def close_if_idle(self, new_since_s: float) -> None:
        """The server is stopping: the call that runs is the last one on this connection.

        A client that connected after ``new_since_s`` may be about to ask, and still may.
        """
        is_new = self.phase is HEAD and self.since_s >= new_since_s
        if self._exchange is None and not is_new:
            self._transport.close()
        else:
            self._is_last = True

    def end(self) -> None:
        """Close it as soon as what was written is sent."""
        self._transport.close()

    def overdue(self, now_s: float) -> None:
        """End what has exceeded its time bound."""
        shared = self._shared
        if self._task is not None and self.stalled_s:
            if now_s - self.stalled_s >= shared.limits.client_stall_s:
                self._transport.abort()
        elif self.phase is CALL or self._is_awaited():
            return
        elif now_s - self.since_s >= shared.bounds_s[self.phase]:
            self._overstayed()

    def _is_awaited(self) -> bool:
        """Whether the client waits for us to take more of its body."""
        inflow = self._exchange.inflow if self._exchange is not None else None
        return inflow is not None and inflow.is_full

    def _overstayed(self) -> None:
        limits = self._shared.limits
        if self.phase is HEAD:
            self._refuse(too_slow("headers", limits.header_timeout_s))
        elif self.phase is BODY:
            self._refuse(too_slow("body", limits.body_timeout_s))
        elif self.phase is IDLE:
            self._transport.close()
        else:
            self._transport.abort()

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._shared.app(exchange)
        finally:
            self._task = self._exchange = None
            self._let_body_go()
            self._wire_bytes = 0
            if exchange.inflow is not None:
                exchange.inflow.close()
            if self.phase is REFUSED:
                pass  # It was refused while it ran.
            elif self.phase is BODY and exchange.ended:
                self._linger()
            elif self._is_last or not (exchange.ended and exchange.keeps):
                self._enter(CLOSING)
                self._transport.close()
            else:
                self._enter(IDLE)
                if self._held:
                    self._take_held()

    def _hold(self, data: bytes) -> bool:
        """Keep the next request of a client until the current call is over.

        The client has its answer already. What is still done about it (such as keeping it) does
        not concern the client.
        """
        if self._exchange is None or not self._exchange.ended:
            return False
        self._held.append(data)
        self._transport.pause_reading()
        return True

    def _take_held(self) -> None:
        held, self._held = b"".join(self._held), []
        if not self._is_lost:
            self._transport.resume_reading()
            self.data_received(held)

    def _let_body_go(self) -> None:
        self._body.clear()
        self._shared.pending_bytes -= self._body_bytes
        self._body_bytes = 0

    def _enter(self, phase: Phase) -> None:
        shared = self._shared
        self.phase = phase
        self.since_s = shared.loop.time()
        if shared.closing:
            shared.moved.set()

    def _check_head(self, exchange: Exchange) -> None:
        limits = self._shared.limits
        if self._head_bytes + len(self._target) > limits.header_bytes_max:
            raise headers_too_large(limits)
        if exchange.doubled:
            name = exchange.doubled.decode("latin-1")
            raise RequestMalformed(f"the header {name!r} came twice; send it once")

    def _check_size(self, exchange: Exchange) -> None:
        inflow = exchange.inflow
        bytes_max = self._shared.limits.body_bytes_max if inflow is None else inflow.bytes_max
        declared = exchange.headers.get(b"content-length")
        if declared is not None and int(declared) > bytes_max:
            raise too_large(bytes_max)

    def _refuse(self, error: CallError) -> None:
        """Answer with an error, throw away further bytes for a while, then cut the connection.

        Closing at once would reset the connection of a client that is still sending, and it would
        never read why it was refused.
        """
        self._let_body_go()
        exchange = self._exchange or Exchange(self, self._shared.cors_origins)
        if exchange.started:
            return self._transport.abort()  # Its answer has begun and cannot become another.
        if self._task is not None:
            self._task.cancel()
        status, headers, body = self._shared.app.refusal(exchange, error)
        exchange.keeps = False
        exchange.answer_now(status, headers, body)
        self._linger()

    def _linger(self) -> None:
        """Throw away what a client is still sending, so that it can read its answer."""
        self._enter(REFUSED)
        if not self._transport.is_closing():
            self._transport.write_eof()
