"""Large bodies pass in bounded memory, either way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.router.ingress.proxy.pass_through.web import (
    AUTH,
    MIB,
    OK,
    WIDE,
    Reader,
    Ways,
    Web,
    Writer,
    passing,
)

SOCKETS_BYTES = 24 * MIB
"""More than kernels hold of a body between two ends that wait."""


async def uploaded(ways: Ways, mib: int, released: asyncio.Event) -> tuple[int, int]:
    """Upload to a web process that begins to read once nothing moves.

    Returns how much was sent, and how much of it had been taken from the client by then.
    """
    sent = 0
    stuck = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(mib * 16):
            yield PIECE
            sent += len(PIECE)

    async def watch() -> None:
        nonlocal stuck
        while True:
            before = sent
            await asyncio.sleep(0.05)
            if before == sent and sent:
                break
        stuck = sent
        released.set()

    watching = asyncio.create_task(watch())
    answer = await ways.client.post("/v1/files", content=content(), headers=AUTH)
    await watching
    assert answer.status_code == 200
    return sent, stuck


PIECE = b"x" * 65_536


@pytest.mark.parametrize("mib", [48, pytest.param(150, marks=pytest.mark.nightly)])
async def test_a_large_file_is_never_in_memory(mib: int) -> None:
    released = asyncio.Event()
    received = 0

    async def read_late(web: Web, reader: Reader, writer: Writer) -> None:
        nonlocal received
        await released.wait()
        while received < mib * MIB:  # The framing of the chunks comes on top.
            received += len(await reader.read(MIB))
        writer.write(OK)

    async with passing(read_late, WIDE) as ways:
        before = resident_bytes()
        sent, stuck = await uploaded(ways, mib, released)
        grown = resident_bytes() - before
    assert sent == mib * MIB
    assert stuck < SOCKETS_BYTES
    assert grown < SOCKETS_BYTES


async def test_a_large_answer_comes_no_faster_than_its_client_reads() -> None:
    sent = 0
    whole = 48 * MIB

    async def give(web: Web, reader: Reader, writer: Writer) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % whole)
        for _ in range(whole // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
            sent += len(PIECE)

    async def stands() -> int:
        """How much had gone once nothing moved any more."""
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.05)
        return sent

    async with (
        passing(give, WIDE) as ways,
        ways.client.stream("GET", "/v1/files/f/content", headers=AUTH) as answer,
    ):
        assert await stands() < SOCKETS_BYTES
        assert sum([len(part) async for part in answer.aiter_raw()]) == whole


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
