"""A name that means something else by the time it is called leads nowhere else."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from django.conf import LazySettings

from marketplace.benchmarks.loadgen.callers import HttpCaller, Server
from marketplace.benchmarks.loadgen.requests import Body
from marketplace.catalog import health
from marketplace.catalog.addresses import AddressRefused, address_of, address_policy
from marketplace.catalog.models import Worker
from marketplace.providers.conformance.findings import Target
from marketplace.providers.conformance.probing import check_endpoint
from tests.patience import PATIENCE_S
from tests.ports import free_ports

OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"
NAME = "rebind.example"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


class Servers:
    """One on each address, on the same port. ``heard`` is what each was sent first."""

    def __init__(self) -> None:
        self.heard: dict[str, list[bytes]] = {OUTSIDE: [], INSIDE: []}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        (port,) = free_ports(1)
        async with contextlib.AsyncExitStack() as stack:
            for address in self.heard:
                server = await asyncio.start_server(self._answering(address), address, port)
                await stack.enter_async_context(server)
            yield port

    def _answering(self, address: str) -> Callable[..., Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heard[address].append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(ANSWER)
            await writer.drain()
            writer.close()

        return answer


def rebind(monkeypatch: pytest.MonkeyPatch, judged: int) -> None:
    """The name is outside whenever it is judged, and inside for who asks again after that."""
    asked = iter([OUTSIDE] * judged)

    def resolve(host: str | bytes, port: int, *_: Any, **__: Any) -> list[Any]:
        address = next(asked, INSIDE) if NAME in str(host) else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


async def probed(url: str) -> None:
    await health.probe([Worker(pk=1, worker_id="w", url=url, protocol="openai")])


async def checked(url: str) -> None:
    async for _ in check_endpoint(Target(url, "openai", 1, "chat", "m"), address_policy()):
        pass


async def benchmarked(url: str) -> None:
    address = await address_of(url, address_policy())
    server = Server(url, "openai", "m", address=address)
    caller = HttpCaller(server, [Body("/v1/x", b"{}")], (), timeout_s=PATIENCE_S)
    try:
        await caller.call(0, lambda: None)
    finally:
        await caller.close()


@pytest.mark.parametrize(("called", "judged"), [(probed, 1), (checked, 2), (benchmarked, 1)])
async def test_only_the_address_that_was_judged_is_connected_to(
    called: Callable[[str], Awaitable[None]],
    judged: int,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = (f"{OUTSIDE}/32",)
    servers = Servers()
    async with servers.running() as port, asyncio.timeout(PATIENCE_S):
        rebind(monkeypatch, judged)
        await called(f"http://{NAME}:{port}")
    assert servers.heard[INSIDE] == []
    # The name stays what the server is asked for: it may serve several.
    assert f"host: {NAME}:{port}".encode() in servers.heard[OUTSIDE][0].lower()


@pytest.mark.parametrize("called", [probed, checked, benchmarked])
async def test_a_name_that_is_inside_is_not_connected_to(
    called: Callable[[str], Awaitable[None]],
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = (f"{OUTSIDE}/32",)
    servers = Servers()
    async with servers.running() as port, asyncio.timeout(PATIENCE_S):
        rebind(monkeypatch, judged=0)
        with contextlib.suppress(AddressRefused):
            await called(f"http://{NAME}:{port}")
    assert servers.heard == {OUTSIDE: [], INSIDE: []}
