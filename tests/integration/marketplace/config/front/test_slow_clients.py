"""Promise 12 for the pages: a thousand slow clients hold nobody up, and are ended."""

import asyncio
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.services import stack
from tests.backend import backend
from tests.patience import PATIENCE_S
from tests.ports import free_ports

SLOW = 1_000
ASKED = 20
PAUSED_S = 2.0
"""What a busy machine may take for twenty pages; they stood still for ever before."""
HEAD = b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Where the pages are, served as `manage.py up` serves them."""
    (web_port,) = free_ports(1)
    options = stack.Options(home=tmp_path, web_port=web_port)
    web = stack._web(options, needs=())
    words = list(web.argv[web.argv.index("granian") :])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with backend(words, f"http://127.0.0.1:{web_port}/robots.txt", tmp_path / "log"):
        yield web_port
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(HEAD + b"\r\na=", id="bodies"),
        pytest.param(HEAD, id="heads", marks=pytest.mark.nightly),
    ],
)
async def test_a_thousand_slow_clients_hold_nobody_up_and_are_ended(
    port: int, begun: bytes
) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > SLOW + 100, "ulimit -n 2000, or more"
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SLOW)]
    for _, writer in slow:
        writer.write(begun)
    before = time.monotonic()
    for _ in range(ASKED):
        assert (await ask(port)).startswith(b"HTTP/1.1 200")
    took_s = time.monotonic() - before
    assert took_s < ASKED * PAUSED_S
    async with asyncio.timeout(PATIENCE_S):
        for reader, writer in slow:
            received = await reader.read()
            assert received == b"" or received.startswith(b"HTTP/1.1 408")
            writer.close()


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /robots.txt HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        received = await reader.read()
    writer.close()
    return received
