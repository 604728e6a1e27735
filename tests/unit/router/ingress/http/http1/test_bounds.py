"""Bodies and heads that are too large, and clients that are too slow."""

import asyncio

import httpx
import pytest

from tests.patience import PATIENCE_S
from tests.unit.router.ingress.http.http1.wire import (
    LIMITS,
    POST,
    SHORT,
    App,
    connected,
    exchange_of,
    said,
)
from tests.unit.router.ingress.serving import serving


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
