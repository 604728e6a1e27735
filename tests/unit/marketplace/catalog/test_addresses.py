"""Where the marketplace's own requests may go."""

import asyncio
import socket
import threading
from typing import Any

import httpx
import pytest

from marketplace.catalog import addresses
from marketplace.catalog.addresses import (
    AddressRefused,
    HostUnknown,
    PinnedTransport,
    resolve,
    resolve_now,
)
from router.domain.addresses import AddressPolicy
from tests.patience import PATIENCE_S

INSIDE = AddressPolicy(["10.0.0.0/8"])
PLAIN = AddressPolicy(["10.0.0.0/8"], public=False)


async def status(transport: PinnedTransport, url: str) -> int:
    async with httpx.AsyncClient(transport=transport) as client:
        return (await client.get(url)).status_code


def answering() -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(204))


@pytest.mark.parametrize(
    "url", ["https://10.0.0.5", "https://192.0.78.9", "http://10.0.0.5", "http://192.0.78.9"]
)
def test_one_rule_is_for_both_schemes(url: str) -> None:
    assert asyncio.run(status(PinnedTransport(INSIDE, answering()), url)) == 204


@pytest.mark.parametrize("url", ["https://10.0.0.5", "https://192.0.78.9", "http://10.0.0.5"])
def test_plain_http_has_a_rule_of_its_own(url: str) -> None:
    transport = PinnedTransport(INSIDE, answering(), plain=PLAIN)
    assert asyncio.run(status(transport, url)) == 204
    with pytest.raises(httpx.ConnectError, match="internal address"):
        asyncio.run(status(transport, "http://192.0.78.9"))


def test_a_name_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that waits is a page's: a few of these would be all pages."""
    over, is_looked_up = threading.Event(), threading.Event()

    def silent(*_args: Any, **_named: Any) -> Any:
        over.wait(5.0)
        is_looked_up.set()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(addresses, "RESOLVE_TIMEOUT_S", 0.01)
    with pytest.raises(HostUnknown):
        resolve_now("silent.example", 443, INSIDE)
    assert not is_looked_up.is_set()
    over.set()


async def test_names_whose_servers_are_silent_keep_no_other_from_being_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop has few threads of its own, and is not done before they are."""
    let_go = threading.Event()

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host.startswith("silent"):
            let_go.wait(PATIENCE_S)
            raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.5", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    silent = [
        asyncio.create_task(resolve(f"silent-{number}.example", 80, INSIDE)) for number in range(64)
    ]
    await asyncio.sleep(0)
    try:
        assert await resolve("good.example", 80, INSIDE) == "10.0.0.5"
    finally:
        let_go.set()
    found = await asyncio.gather(*silent, return_exceptions=True)
    assert all(isinstance(one, AddressRefused) for one in found)
