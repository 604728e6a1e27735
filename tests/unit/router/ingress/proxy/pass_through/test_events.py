"""Events come down as they are written, until the client leaves."""

import asyncio

from tests.patience import PATIENCE_S
from tests.unit.router.ingress.proxy.pass_through.web import (
    AUTH,
    EVENTS,
    Reader,
    Web,
    Writer,
    passing,
    say_nothing,
)


async def test_events_come_down_one_by_one_until_the_client_leaves() -> None:
    received = asyncio.Event()

    async def tell(web: Web, reader: Reader, writer: Writer) -> None:
        writer.write(EVENTS + b"data: 1\n\n")
        await received.wait()
        writer.write(b"data: 2\n\n")
        await say_nothing(web, reader, writer)

    async with passing(tell) as ways:
        path = "/v1/predictions/p/stream"
        async with ways.client.stream("GET", path, headers=AUTH) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            events = answer.aiter_raw()
            assert await anext(events) == b"data: 1\n\n"
            received.set()
            assert await anext(events) == b"data: 2\n\n"
        await asyncio.wait_for(ways.web.left.wait(), PATIENCE_S)


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event() -> None:
    async def wait(web: Web, reader: Reader, writer: Writer) -> None:
        writer.write(EVENTS)
        await say_nothing(web, reader, writer)

    async with (
        passing(wait) as ways,
        ways.client.stream("GET", "/v1/predictions/p", headers=AUTH) as answer,
    ):
        assert answer.status_code == 200
