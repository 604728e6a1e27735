"""Clients that are slow, are answered early, or leave."""

import asyncio
import gc
from math import inf

import pytest

from router.ingress.http.http1 import Connection
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.proxy.pass_through.web import (
    LIMITS,
    MIB,
    WIDE,
    Reader,
    Web,
    Writer,
    answer_ok,
    head,
    passing,
    say_nothing,
    saying,
)
from tests.unit.router.pipeline.line import in_time


def connection_of() -> Connection:
    """The router's side of the one connection that is open; others may still be in memory."""
    every = [each for each in gc.get_objects() if type(each) is Connection]
    (found,) = (each for each in every if each in each._shared.connections)
    return found


async def test_an_upload_is_too_slow_only_if_nothing_of_it_comes() -> None:
    async with passing(say_nothing) as ways, ways.raw() as (reader, writer):
        writer.write(head("/v1/files", "content-length: 3"))
        await in_time(lambda: ways.web.connections == 1)
        connection = connection_of()
        for piece in (b"x", b"y"):
            since_s = connection.since_s
            writer.write(piece)
            await in_time(lambda since_s=since_s: connection.since_s > since_s)
            connection.overdue(connection.since_s + LIMITS.body_timeout_s - 1)
        assert connection.phase.value == "body"
        connection.overdue(connection.since_s + LIMITS.body_timeout_s)
        assert (await reader.readline()).split()[1] == b"408"
        await asyncio.wait_for(ways.web.left.wait(), PATIENCE_S)


async def test_a_client_that_waits_for_us_is_not_too_slow() -> None:
    released = asyncio.Event()

    async def read_late(web: Web, reader: Reader, writer: Writer) -> None:
        await released.wait()
        await answer_ok(web, reader, writer)

    async with passing(read_late, WIDE) as ways, ways.raw() as (reader, writer):
        size = 16 * MIB
        writer.write(head("/v1/files", f"content-length: {size}"))
        writer.write(b"x" * size)
        await in_time(lambda: bool(ways.web.heads))
        connection = connection_of()
        await in_time(connection._is_awaited)
        connection.overdue(inf)
        released.set()
        assert (await reader.readline()).split()[1] == b"200"


async def test_an_early_answer_reaches_who_still_sends_and_ends_the_connection() -> None:
    busy = (
        b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nretry-after: 5\r\nconnection: close\r\n\r\nfull"
    )
    async with passing(saying(busy)) as ways, ways.raw() as (reader, writer):
        writer.write(head("/v1/files", "content-length: 900") + b"x" * 10)
        received = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert received.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 5" in received
    assert b"connection: close" in received
    assert received.endswith(b"full")


@pytest.mark.parametrize("sent", [b"", b"x" * 10])
async def test_a_client_that_leaves_takes_its_request_with_it(sent: bytes) -> None:
    async with passing(say_nothing) as ways:
        async with ways.raw() as (_, writer):
            writer.write(head("/v1/files", "content-length: 10") + sent)
            await in_time(lambda: ways.web.connections == 1 and bool(ways.web.heads) >= bool(sent))
        await asyncio.wait_for(ways.web.left.wait(), PATIENCE_S)
