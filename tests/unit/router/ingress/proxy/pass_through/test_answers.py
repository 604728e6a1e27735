"""What the web process answers, or does not: away, silent, or broken off."""

import asyncio

import httpx
import pytest

from router.ingress.proxy.pass_through import JOBS
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.proxy.pass_through.web import (
    AUTH,
    head,
    passing,
    say_nothing,
    saying,
    without_web,
)


async def test_a_web_process_that_is_away_is_a_503_and_the_connection_stays() -> None:
    async with without_web() as ways, ways.raw() as (reader, writer):
        for _ in range(2):
            writer.write(head(method="GET"))
            received = await reader.readuntil(b"\r\n\r\n")
            assert received.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 5" in received
            assert b"connection: close" not in received
            length = int(received.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            assert b'"jobs_unavailable"' in body
            for kind in JOBS:
                assert kind.encode() in body


@pytest.mark.parametrize(("method", "again"), [("GET", True), ("POST", False), ("DELETE", False)])
async def test_what_may_have_been_done_is_not_to_be_repeated_unseen(
    method: str, again: bool
) -> None:
    async with passing(saying(b"")) as ways:
        answer = await ways.client.request(method, "/v1/batches", headers=AUTH)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, again)
    assert (answer.headers.get("x-should-retry") == "false") is not again


async def test_an_answer_that_breaks_off_is_not_passed_for_a_whole_one() -> None:
    for half in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ):
        async with passing(saying(half)) as ways:
            with pytest.raises(httpx.RemoteProtocolError):
                await ways.client.get("/v1/files/f/content", headers=AUTH)


async def test_a_web_process_that_says_nothing_is_given_up() -> None:
    limits = Limits(connect_timeout_s=30, jobs_silence_s=0.2)
    async with passing(say_nothing, limits) as ways:
        answer = await ways.client.post("/v1/batches", json={}, headers=AUTH)
        assert answer.status_code == 503
        await asyncio.wait_for(ways.web.left.wait(), PATIENCE_S)


async def test_head_and_bodiless_answers_have_no_body() -> None:
    async with passing(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")) as ways:
        answer = await ways.client.head("/v1/files/f", headers=AUTH)
        assert (answer.status_code, answer.headers["content-length"]) == (200, "9")
        assert ways.web.heads[0].startswith(b"HEAD ")
    async with passing(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as ways:
        for _ in range(2):  # On one connection: nothing of the first request leaks into the second.
            answer = await ways.client.delete("/v1/files/f", headers=AUTH)
            assert (answer.status_code, answer.content) == (204, b"")
