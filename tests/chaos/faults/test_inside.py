"""Promise 18: a URL that a provider gives never leads into the internal network.

Everybody who calls such a URL does so here, in this process: whatever names mean, one moment and
the next, and wherever answers point, connections are opened to the worker's own address only. The
interpreter itself tells which are (``socket.connect`` among its audit events).
"""

import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from marketplace.benchmarks.loadgen.callers import Server, caller_of
from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.runs import fingerprint
from marketplace.catalog import health
from marketplace.catalog.addresses import AddressRefused, address_of, address_policy
from marketplace.catalog.models import Worker
from marketplace.providers.conformance.findings import Target
from marketplace.providers.conformance.probing import check_endpoint
from router.ports.upstream import UpstreamFailed
from router.settings import Limits
from router.upstream.http import HTTPClient

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"
"""The network that the installation allows, and the next machine."""
FORBIDDEN = (
    *("127.0.0.2", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "192.0.0.192", "198.18.0.1", "::1", "::", "fe80::1", "fd00:ec2::254"),
    *("::ffff:127.0.0.2", "::ffff:10.0.0.1", "::ffff:0:a00:1", "64:ff9b::a00:1", "fec0::1"),
    *("64:ff9b:1::a00:1", "2002:a00:1::", "::10.0.0.1"),
)
STATUSES = ("301 M", "302 M", "303 M", "307 M", "308 M")


async def check(url: str) -> None:
    """A listing's check of its live endpoint."""
    target = Target(url=url, protocol="openai", slots=1, task="chat", model="m", parameters=())
    async for _ in check_endpoint(target, address_policy()):
        pass


async def probe(url: str) -> None:
    """The job that probes every worker."""
    await health.probe([Worker(url=url, protocol="openai")])


async def benchmark(url: str) -> None:
    """LoadGen's caller, with the address that the job hands to it."""
    try:
        address = await address_of(url, address_policy())
    except AddressRefused:
        return
    caller = caller_of(plan_of("embeddings", {}), [Server(url, "openai", "m", address=address)], [])
    for index in range(3):
        await caller.call(index, lambda: None)
    await caller.close()


async def fingerprinting(url: str) -> None:
    """What a benchmark asks an engine about its setup."""
    with contextlib.suppress(httpx.HTTPError):
        await fingerprint._asked(Worker(url=url, protocol="openai"), "m")


async def route(url: str) -> None:
    """The router's own client."""
    async with HTTPClient(Limits(), address_policy()) as client:
        for _ in range(3):
            with contextlib.suppress(UpstreamFailed):
                client.release(await client.post(f"{url}/v1/chat/completions", b"", b"{}"))


CALLERS: tuple[Callable[[str], Awaitable[None]], ...] = (
    check,
    probe,
    benchmark,
    fingerprinting,
    route,
)


class Names:
    """A DNS server whose answers are ours: the last one of a name stays."""

    def __init__(self) -> None:
        self.answers: dict[str, Iterator[list[str]]] = {}
        self._real = socket.getaddrinfo

    def say(self, name: str, *answers: list[str]) -> None:
        self.answers[name] = itertools.chain(answers, itertools.repeat(answers[-1]))

    def getaddrinfo(self, host: Any, port: Any, *more: Any, **options: Any) -> list[Any]:
        if host not in self.answers:
            return self._real(host, port, *more, **options)
        return [
            (socket.AF_INET6, 1, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, 1, 6, "", (address, port))
            for address in next(self.answers[host])
        ]


class Connects:
    """The IP addresses that this process has connected to."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.listening = True
        sys.addaudithook(self._hear)  # An audit hook cannot be removed.

    def _hear(self, event: str, words: tuple[Any, ...]) -> None:
        if self.listening and event == "socket.connect" and isinstance(words[1], tuple):
            self.addresses.append(words[1][0])


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Names:
    settings.ROUTER_UPSTREAM_NETWORKS = (f"{OUTSIDE}/32",)
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    return made


@pytest.fixture
def connects() -> Iterator[Connects]:
    made = Connects()
    yield made
    made.listening = False


@contextlib.asynccontextmanager
async def worker(answer: bytes) -> Any:
    """A worker with the same answer for everybody; returns its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, OUTSIDE) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("caller", CALLERS)
async def test_18_a_name_that_is_rebound_leads_nowhere_else(
    caller: Callable[[str], Awaitable[None]], names: Names, connects: Connects
) -> None:
    async with worker(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as port:
        for answers in ([OUTSIDE], [INSIDE]), ([OUTSIDE], [INSIDE, OUTSIDE]), ([INSIDE, OUTSIDE],):
            names.say("rebinds.example", *answers)
            await caller(f"http://rebinds.example:{port}")
    assert set(connects.addresses) == {OUTSIDE}


@pytest.mark.parametrize("caller", CALLERS)
async def test_18_a_redirect_is_followed_nowhere(
    caller: Callable[[str], Awaitable[None]], names: Names, connects: Connects
) -> None:
    names.say("inside.example", [INSIDE])
    for status, host in itertools.product(STATUSES, (INSIDE, "inside.example")):
        head = f"HTTP/1.1 {status}\r\nlocation: http://{host}:9/x\r\ncontent-length: 0\r\n\r\n"
        async with worker(head.encode()) as port:
            await caller(f"http://{OUTSIDE}:{port}")
    assert set(connects.addresses) == {OUTSIDE}


@pytest.mark.parametrize("caller", CALLERS)
async def test_18_no_inside_address_is_connected_to(
    caller: Callable[[str], Awaitable[None]], names: Names, connects: Connects
) -> None:
    for address in FORBIDDEN:
        names.say("inside.example", [address])
        await caller("http://inside.example:9")
        await caller(f"http://[{address}]:9" if ":" in address else f"http://{address}:9")
    assert connects.addresses == []
