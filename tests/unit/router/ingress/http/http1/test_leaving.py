"""Clients that leave, or take nothing of their answer."""

import asyncio
from unittest.mock import Mock

import pytest

from router.ingress.http.exchange import Exchange
from router.ingress.http.http1 import Connection
from router.ingress.http.http_server import HTTPServer
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.http.http1.wire import LIMITS, POST, SHORT, App, connected


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
