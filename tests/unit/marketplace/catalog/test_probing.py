"""Whatever one worker is or answers, the prober has a reading of each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from django.conf import LazySettings
from django.core.exceptions import ValidationError

from marketplace.catalog import health
from marketplace.catalog.health import readings_that_count
from marketplace.catalog.models import BASE_URL, Worker
from marketplace.catalog.services import HealthReading
from tests.patience import PATIENCE_S

HEAD = b"HTTP/1.1 200 OK\r\n"
GOOD = HEAD + b"content-length: 2\r\nconnection: close\r\n\r\n{}"
NO_WORKERS = [
    "http://127.0.0.1:99999",
    f"http://127.0.0.1:{'9' * 40}",
    "http://xn--a",
    "http://[::1",
    "http://:80",
]
"""URLs that look like a base, and lead nowhere."""

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _loopback(settings: LazySettings) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = ("127.0.0.0/8",)


async def well(writer: asyncio.StreamWriter) -> None:
    writer.write(GOOD)


async def endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    await dripping(writer, b"x")


async def endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    await dripping(writer, b"x-more: 1\r\n")


async def dripping(writer: asyncio.StreamWriter, drop: bytes) -> None:
    while not writer.is_closing():
        writer.write(drop)
        await writer.drain()
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def probed(*urls: str) -> list[HealthReading]:
    workers = [
        Worker(pk=pk, worker_id=f"w{pk}", url=url, protocol="openai")
        for pk, url in enumerate(urls, start=1)
    ]
    async with asyncio.timeout(PATIENCE_S):
        return await health.probe(workers)


async def test_a_server_whose_answer_has_no_end_is_well_as_soon_as_it_says_so() -> None:
    async with serving(endless_body) as url:
        assert [reading.healthy for reading in await probed(url)] == [True]


async def test_a_server_whose_head_has_no_end_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "ANSWER_S_MAX", 0.5)
    async with serving(endless_head) as slow, serving(well) as good:
        readings = await probed(slow, good)
    assert [reading.healthy for reading in readings] == [False, True]
    assert readings[0].error.startswith("TimeoutError")


@pytest.mark.parametrize("url", NO_WORKERS)
async def test_a_url_that_leads_nowhere_is_this_workers_fault_alone(url: str) -> None:
    async with serving(well) as good:
        readings = await probed(url, good)
    assert [reading.healthy for reading in readings] == [False, True]
    workers = [Worker(pk=1, url=url), Worker(pk=2, url=good)]
    assert readings_that_count(workers, readings) == readings


@pytest.mark.parametrize("url", NO_WORKERS)
def test_no_worker_is_given_such_a_url(url: str) -> None:
    BASE_URL(url)
    with pytest.raises(ValidationError) as refused:
        Worker(url=url).clean()
    assert set(refused.value.message_dict) == {"url"}
