"""A server that stops."""

import asyncio
import socket

import pytest
import uvloop

from router.ingress.http.http_server import HTTPServer
from tests.patience import PATIENCE_S
from tests.ports import free_ports
from tests.unit.router.ingress.http.http1.wire import LIMITS, POST, App, said
from tests.unit.router.ingress.serving import serving
from tests.unit.router.pipeline.line import until


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
