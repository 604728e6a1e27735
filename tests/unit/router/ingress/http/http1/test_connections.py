"""Calls on one connection, one after the other, and what is put away after an answer."""

import asyncio
import gc

from router.ingress.http.http1 import Connection
from router.settings import Limits
from tests.unit.router.ingress.http.http1.wire import LIMITS, POST, App, connected
from tests.unit.router.ingress.serving import serving
from tests.unit.router.pipeline.line import until


async def test_calls_follow_one_another_on_a_connection() -> None:
    app = App()
    async with connected(app, Limits()) as (reader, writer):
        for path in (b"/one", b"/two"):
            writer.write(POST.replace(b"/x", path))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"x-path: " + path in head
            assert await reader.readexactly(2) == b"hi"
    assert app.called == [("/one", b"hi"), ("/two", b"hi")]


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
