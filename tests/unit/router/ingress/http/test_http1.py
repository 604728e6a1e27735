"""The HTTP server on the wire: what is not HTTP, is too large, too slow, or leaves."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from unittest.mock import Mock

import httpx
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from router.domain.errors import CallError
from router.ingress.errors import error_headers, openai_error
from router.ingress.http.exchange import Exchange, Headers
from router.ingress.http.http1 import Connection
from router.ingress.http.http_server import HTTPServer
from router.settings import Limits
from tests.examples import examples
from tests.patience import PATIENCE_S
from tests.ports import free_ports
from tests.unit.router.ingress.serving import serving
from tests.unit.router.pipeline.line import until

LIMITS = Limits(body_bytes_max=1_000, header_bytes_max=2_000, idle_timeout_s=0.4)
SHORT = structs.replace(LIMITS, header_timeout_s=0.2, body_timeout_s=0.2, client_stall_s=0.3)
"""For what is about time alone: a machine that pauses for so long is not rare."""
POST = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi"


class App:
    """Echoes the body, streams without end at ``/endless``, waits for ever at ``/wait``, and after
    its answer at ``/after`` until ``put_away``.
    """

    def __init__(self) -> None:
        self.called: list[tuple[str, bytes]] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.put_away = asyncio.Event()
        self.sent = 0

    def admit(self, exchange: Exchange) -> None:
        return

    async def __call__(self, exchange: Exchange) -> None:
        self.called.append((exchange.path, exchange.body))
        self.begun.set()
        try:
            if exchange.path == "/wait":
                await asyncio.Event().wait()
            elif exchange.path == "/endless":
                await exchange.start_stream([])
                while True:
                    await exchange.send(b"x" * 65_536)
                    self.sent += 65_536
            elif exchange.path == "/events":
                await exchange.start_stream([("x-a", "b")])
                await exchange.send(b"data: 1\n\n")
                await exchange.end_stream(b"data: 2\n\n")
            else:
                await exchange.answer(200, [("x-path", exchange.path)], exchange.body)
            if exchange.path == "/after":
                await self.put_away.wait()
        except asyncio.CancelledError:
            self.cancelled.set()

    def refusal(self, exchange: Exchange, error: CallError) -> tuple[int, Headers, bytes]:
        return error.status, error_headers(error), openai_error(error)


@contextlib.asynccontextmanager
async def connected(
    app: App | None = None, limits: Limits = LIMITS
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(app or App(), limits) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def said(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server closes."""
    with contextlib.suppress(OSError):
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    return b""


async def exchange_of(raw: bytes, app: App | None = None, limits: Limits = LIMITS) -> bytes:
    async with connected(app, limits) as (reader, writer):
        writer.write(raw)
        return await said(reader)


async def test_calls_follow_one_another_on_a_connection() -> None:
    app = App()
    async with connected(app, Limits()) as (reader, writer):
        for path in (b"/one", b"/two"):
            writer.write(POST.replace(b"/x", path))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"x-path: " + path in head
            assert await reader.readexactly(2) == b"hi"
    assert app.called == [("/one", b"hi"), ("/two", b"hi")]


async def test_a_body_may_come_in_pieces_and_in_chunks() -> None:
    app = App()
    async with connected(app) as (reader, writer):
        raw = (
            b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
            b"\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
        )
        for byte in raw:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await said(reader)).endswith(b"hello")


async def test_a_stream_is_chunked_and_for_http_1_0_ends_with_the_connection() -> None:
    whole = await exchange_of(b"GET /events HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    head, _, body = whole.partition(b"\r\n\r\n")
    assert b"text/event-stream" in head
    assert body == b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    old = await exchange_of(b"GET /events HTTP/1.0\r\n\r\n")
    assert old.partition(b"\r\n\r\n")[2] == b"data: 1\n\ndata: 2\n\n"


async def test_head_is_answered_without_a_body() -> None:
    whole = await exchange_of(b"HEAD /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert whole.startswith(b"HTTP/1.1 200")
    assert whole.endswith(b"\r\n\r\n")


async def test_a_client_that_expects_100_is_told_to_go_on() -> None:
    async with connected() as (reader, writer):
        head, body = POST.split(b"\r\n\r\n")
        writer.write(head + b"\r\nexpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")


OFFER = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
SIZED = b"POST /x HTTP/1.1\r\nhost: h\r\n" + OFFER + b"content-length: 2\r\n\r\nhi"
IN_CHUNKS = (
    b"POST /x HTTP/1.1\r\nhost: h\r\n"
    + OFFER
    + b"transfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("raw", [SIZED, IN_CHUNKS])
@pytest.mark.parametrize("at", [0, 40, -9, -1])
async def test_an_upgrade_is_not_taken_up_and_the_call_is_served(raw: bytes, at: int) -> None:
    """As curl ``--http2`` and Java's client begin; both go on with HTTP/1.1 then."""
    app = App()
    async with connected(app) as (reader, writer):
        writer.write(raw[:at])
        await writer.drain()
        await asyncio.sleep(0.01)  # So that it is read in two parts.
        writer.write(raw[at:])
        assert (await reader.readuntil(b"\r\n\r\nhi")).startswith(b"HTTP/1.1 200")
        writer.write(POST)
        assert (await reader.readuntil(b"\r\n\r\nhi")).startswith(b"HTTP/1.1 200")
    assert app.called == [("/x", b"hi"), ("/x", b"hi")]


async def test_what_has_no_body_may_offer_an_upgrade_too() -> None:
    app = App()
    get = b"GET /x HTTP/1.1\r\nhost: h\r\n" + OFFER + b"\r\n"
    async with connected(app) as (reader, writer):
        writer.write(get)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(POST)
        assert (await reader.readuntil(b"\r\n\r\nhi")).startswith(b"HTTP/1.1 200")
    assert app.called == [("/x", b""), ("/x", b"hi")]


async def test_a_body_behind_an_offer_is_bounded_and_has_one_end() -> None:
    app = App()
    head = b"POST /x HTTP/1.1\r\nhost: h\r\n" + OFFER
    large = head + b"transfer-encoding: chunked\r\n\r\n" + b"500\r\n" + b"x" * 0x500 + b"\r\n"
    assert (await exchange_of(large * 2, app)).startswith(b"HTTP/1.1 4")
    both = head + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await exchange_of(both, app)).startswith(b"HTTP/1.1 400 ")
    assert not app.called


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: 5 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nname : value\r\ncontent-length: 0\r\n\r\n",
        b"POST /x HTTP/1.1\r\na: b\r\n folded\r\ncontent-length: 0\r\n\r\n",
        b"POST /x HTTP/1.1\r\na: b\x00c\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    app = App()
    answer = await exchange_of(raw, app)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"malformed_request" in answer
    assert b"connection: close" in answer
    assert not app.called


async def test_a_pipelined_request_is_not_taken_for_part_of_the_first() -> None:
    app = App()
    answer = await exchange_of(POST + POST.replace(b"/x", b"/second"), app)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert app.called == [("/x", b"hi")]


async def test_a_client_may_ask_again_while_its_last_answer_is_put_away() -> None:
    app, after = App(), POST.replace(b"/x", b"/after")
    async with connected(app) as (reader, writer):
        writer.write(after)
        await reader.readuntil(b"\r\n\r\nhi")
        writer.write(POST[:30])
        await writer.drain()
        await until(lambda: len(app.called) == 1)
        writer.write(POST[30:] + POST)
        await asyncio.sleep(0)
        app.put_away.set()
        head = await reader.readuntil(b"\r\n\r\nhi")
        assert b"x-path: /x" in head
        assert [path for path, _ in app.called[:2]] == ["/after", "/x"]


async def test_what_is_put_away_after_an_answer_is_not_lost_with_the_client() -> None:
    app, after = App(), POST.replace(b"/x", b"/after")
    async with serving(app, LIMITS) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(after)
        await reader.readuntil(b"\r\n\r\nhi")
        writer.transport.abort()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not app.cancelled.is_set()
        app.put_away.set()


async def test_a_connection_that_is_over_is_gone_without_a_collector() -> None:
    gc.collect()
    gc.disable()
    gc.freeze()  # What is there already does not have to be looked through at each look.
    before = connections()
    try:
        async with serving(App(), LIMITS) as port:
            for sent in (POST, POST[:-1], b"nonsense"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                if sent != POST[:-1]:
                    await reader.read(1)
                else:
                    await until(lambda: connections() > before)
                writer.transport.abort()
                await until(lambda: connections() == before)
    finally:
        gc.unfreeze()
        gc.enable()


def connections() -> int:
    """How many there are, over or not."""
    return sum(isinstance(get_object, Connection) for get_object in gc.get_objects())


async def test_noise_after_a_request_ends_the_connection_and_not_the_answer() -> None:
    answer = await exchange_of(POST + b"\x00")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    app = App()
    async with connected(app) as (reader, writer):
        writer.write(POST.replace(b"/x", b"/endless"))
        await reader.readuntil(b"x" * 100)
        writer.write(b"\x00" * 10)
        sent = app.sent
        for _ in range(100):
            assert await reader.readexactly(65_536)
        assert app.sent > sent
        assert not app.cancelled.is_set()


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1001\r\n\r\n",
        b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"3e9\r\n"
        + b"x" * 1001
        + b"\r\n0\r\n\r\n",
    ],
)
async def test_a_body_over_the_bound_is_refused_declared_or_not(raw: bytes) -> None:
    app = App()
    assert (await exchange_of(raw, app)).startswith(b"HTTP/1.1 413 ")
    assert not app.called


async def test_a_client_that_sends_its_whole_body_first_still_hears_why_it_was_refused() -> None:
    async with serving(App(), LIMITS) as port, httpx.AsyncClient(verify=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/x", content=b"x" * 20_000_000)
    assert answer.status_code == 413


async def test_a_client_that_sends_on_after_a_refusal_is_cut_off() -> None:
    async with connected(limits=SHORT) as (reader, writer):
        writer.write(b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1001\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")

        async def go_on() -> None:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(go_on(), PATIENCE_S)


async def test_a_head_over_the_bound_is_refused() -> None:
    raw = b"POST /x HTTP/1.1\r\na: " + b"x" * 3_000
    assert (await exchange_of(raw)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("raw", [b"", b"POST /x HTT", POST[:-1]])
async def test_a_request_that_takes_too_long_is_refused(raw: bytes) -> None:
    app = App()
    answer = await exchange_of(raw, app, SHORT)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert not app.called


async def test_an_idle_connection_is_closed() -> None:
    async with connected() as (reader, writer):
        writer.write(POST)
        answer = await said(reader)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"hi")


@pytest.mark.parametrize("path", [b"/wait", b"/endless"])
async def test_a_call_ends_when_its_client_leaves(path: bytes) -> None:
    app = App()
    async with connected(app) as (_, writer):
        writer.write(POST.replace(b"/x", path))
        await asyncio.wait_for(app.begun.wait(), PATIENCE_S)
        writer.transport.abort()
        await asyncio.wait_for(app.cancelled.wait(), PATIENCE_S)


async def test_a_client_that_takes_nothing_holds_the_call_up_and_then_loses_it() -> None:
    app = App()
    async with connected(app, SHORT) as (_, writer):
        writer.transport.pause_reading()
        writer.write(POST.replace(b"/x", b"/endless"))
        await asyncio.wait_for(app.cancelled.wait(), PATIENCE_S)
    assert app.sent < 64 * 1024 * 1024


async def test_a_connection_from_before_the_stop_is_still_answered_once() -> None:
    (port,) = free_ports(1)
    server = HTTPServer(App(), LIMITS, frozenset())
    await server.listen("127.0.0.1", port)
    ours = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: bool(server.shared.connections))
    # The kernel has this one, and the server has not turned to it yet.
    kernels = await asyncio.open_connection(sock=socket.create_connection(("127.0.0.1", port)))
    stopping = asyncio.create_task(server.stop_listening())
    await until(lambda: server.shared.closing)
    for reader, writer in (ours, kernels):
        writer.write(POST)
        answer = await said(reader)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        writer.close()
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    server.close()


@pytest.mark.parametrize("turns", range(5))
def test_what_is_asked_as_a_server_stops_has_begun_when_it_has_stopped(turns: int) -> None:
    """In whichever turn of the router's loop: what runs is counted from then on."""

    async def begins() -> bool:
        (port,) = free_ports(1)
        app = App()
        server = HTTPServer(app, LIMITS, frozenset())
        await server.listen("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(POST)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop_listening()
            server.close()
            return bool(app.called)

    assert uvloop.run(begins())


async def test_a_stopping_server_does_not_wait_for_who_never_asks() -> None:
    (port,) = free_ports(1)
    server = HTTPServer(App(), LIMITS, frozenset())
    await server.listen("127.0.0.1", port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.wait_for(server.stop_listening(), PATIENCE_S)
    server.close()
    assert await said(reader) == b""
    writer.close()


class Hasty(App):
    """Sends without ever having to wait, for a while."""

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.start_stream([])
        for self.sent in range(1_000):
            await exchange.send(b"x")


async def test_a_call_that_could_go_on_sending_hears_that_its_client_has_left() -> None:
    app = Hasty()
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    server = HTTPServer(app, LIMITS, frozenset())
    connection = Connection(server.shared)
    connection.connection_made(transport)

    def broken(_: bytes) -> None:
        transport.is_closing.return_value = True
        server.shared.loop.call_soon(connection.connection_lost, BrokenPipeError())

    transport.write.side_effect = broken
    connection.data_received(POST)
    closed = asyncio.Event()
    transport.close.side_effect = closed.set
    await asyncio.wait_for(closed.wait(), PATIENCE_S)
    assert app.sent < 5


async def test_a_client_that_does_not_take_the_last_of_an_answer_is_cut_off() -> None:
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    server = HTTPServer(App(), LIMITS, frozenset())
    connection = Connection(server.shared)
    connection.connection_made(transport)
    connection.data_received(POST.replace(b"host", b"connection: close\r\nhost"))
    closed = asyncio.Event()
    transport.close.side_effect = closed.set
    await asyncio.wait_for(closed.wait(), PATIENCE_S)
    connection.overdue(server.shared.loop.time())
    transport.abort.assert_not_called()
    connection.overdue(server.shared.loop.time() + LIMITS.client_stall_s)
    transport.abort.assert_called_once()


async def test_a_stopping_server_ends_what_runs_and_takes_no_more() -> None:
    app = App()
    async with serving(app, LIMITS) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST.replace(b"/x", b"/events"))
        await reader.readuntil(b"\r\n\r\n")
    assert (await said(reader)).endswith(b"0\r\n\r\n")
    assert await said(idle) == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    idle_writer.close()


@settings(max_examples=examples(30))
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_bytes_bring_the_server_down(pieces: list[bytes]) -> None:
    async def run() -> None:
        app = App()
        async with serving(app, LIMITS) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            with contextlib.suppress(OSError):  # It may have been refused already.
                writer.write_eof()
            await said(reader)
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST)
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
            writer.close()

    asyncio.run(run())
