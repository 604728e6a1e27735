"""Where a request begins and ends on the wire; what could be read in two ways is refused."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.router.ingress.http.http1.wire import (
    LIMITS,
    POST,
    App,
    connected,
    exchange_of,
    said,
)
from tests.unit.router.ingress.serving import serving


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
