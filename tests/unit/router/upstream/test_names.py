"""Names of workers, by a name server that may be slow, out of reach, or say something else."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.ports.upstream import UpstreamFailed
from router.settings import Limits
from router.upstream.http import HTTPClient, post_for_answer
from router.upstream.names import Names
from tests.patience import PATIENCE_S
from tests.unit.router.upstream.test_connection import BYTES_MAX, Worker

LAST = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
HERE = ("http", "worker.example", 80)


class NameServer:
    """Answers every name with ``address``, or with ``error``, while it is ``awake``."""

    def __init__(self) -> None:
        self.address = "127.0.0.1"
        self.error: OSError | None = None
        self.asked: Counter[str] = Counter()
        self.awake = asyncio.Event()
        self.awake.set()

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[object]:
        self.asked[host] += 1
        await self.awake.wait()
        if self.error is not None:
            raise self.error
        return [(2, 1, 6, "", (self.address, port))]


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    made = NameServer()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", made.getaddrinfo)
    return made


@pytest.fixture
def at_once_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is to be resolved again at once."""
    monkeypatch.setattr("router.upstream.names.RESOLVED_S", 0.0)


@contextlib.asynccontextmanager
async def working(connect_s: float) -> AsyncIterator[tuple[HTTPClient, int]]:
    """A client, and the port of a worker that wants a connection for each call."""
    worker = Worker(lambda _: LAST, then_closes=True)
    limits = Limits(connect_timeout_s=connect_s)
    listening = await asyncio.start_server(worker.serve, "127.0.0.1", 0)
    async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as client:
        yield client, listening.sockets[0].getsockname()[1]
    listening.close()


def names(within_s: float = PATIENCE_S, at_once_max: int = 9) -> Names:
    policies = {"http": AddressPolicy(EVERYWHERE)}
    return Names(policies, within_s=within_s, at_once_max=at_once_max)


async def body_of(client: HTTPClient, url: str) -> bytes:
    return (await post_for_answer(client, url, b"", b"{}", BYTES_MAX))[1]


async def test_calls_to_one_name_share_a_look_up_even_after_they_gave_up(
    server: NameServer,
) -> None:
    server.awake.clear()
    async with working(connect_s=0.5) as (client, port):
        url = f"http://slow.example:{port}/v1"
        for _ in range(2):
            ends = await asyncio.gather(
                *(body_of(client, url) for _ in range(10)), return_exceptions=True
            )
            assert [str(end) for end in ends] == ["connect: timed out"] * 10
        server.awake.set()
        assert await body_of(client, url) == b"ok"
    assert server.asked == {"slow.example": 1}


@pytest.mark.usefixtures("at_once_old")
async def test_a_name_that_was_known_is_called_while_it_is_looked_up_again(
    server: NameServer,
) -> None:
    async with working(connect_s=30) as (client, port):
        url = f"http://worker.example:{port}/v1"
        assert await body_of(client, url) == b"ok"
        server.awake.clear()
        assert [await body_of(client, url) for _ in range(3)] == [b"ok"] * 3
        assert server.asked["worker.example"] == 2


@pytest.mark.usefixtures("at_once_old")
async def test_a_new_address_is_used_at_once_where_the_name_server_is_quick(
    server: NameServer,
) -> None:
    known = names()
    assert await known.of(HERE) == ["127.0.0.1"]
    server.address = "127.0.0.2"
    assert await known.of(HERE) == ["127.0.0.2"]


async def test_an_address_where_nobody_answers_is_looked_up_again(server: NameServer) -> None:
    known = names()
    await known.of(HERE)
    server.address = "127.0.0.2"
    assert await known.of(HERE) == ["127.0.0.1"]
    known.doubt(HERE)
    assert await known.of(HERE) == ["127.0.0.2"]


@pytest.mark.usefixtures("at_once_old")
async def test_addresses_outlive_their_name_server_but_not_their_name(server: NameServer) -> None:
    known = names()
    await known.of(HERE)
    server.error = socket.gaierror(socket.EAI_AGAIN, "out of reach")
    assert await known.of(HERE) == ["127.0.0.1"]
    server.error = socket.gaierror(socket.EAI_NONAME, "unknown")
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await known.of(HERE)


@pytest.mark.usefixtures("at_once_old")
async def test_an_address_that_is_refused_now_is_not_called_as_it_was(server: NameServer) -> None:
    known = Names({"http": AddressPolicy(["127.0.0.0/8"])}, within_s=PATIENCE_S)
    await known.of(HERE)
    server.address = "10.0.0.1"
    for _ in range(2):
        with pytest.raises(UpstreamFailed, match="address_refused"):
            await known.of(HERE)


async def test_so_many_look_ups_run_at_once_and_the_rest_waits(server: NameServer) -> None:
    server.awake.clear()
    known = names(at_once_max=2)
    asking = [asyncio.ensure_future(known.of(("http", f"{n}.example", 80))) for n in range(5)]
    await asyncio.sleep(0.05)
    assert server.asked == {"0.example": 1, "1.example": 1}
    server.awake.set()
    assert await asyncio.gather(*asking) == [["127.0.0.1"]] * 5


async def test_a_look_up_that_fails_when_nobody_waits_troubles_nobody(
    server: NameServer,
) -> None:
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    server.awake.clear()
    known = names(within_s=0.05)
    with pytest.raises(TimeoutError):
        await known.of(HERE)
    server.error = socket.gaierror(socket.EAI_NONAME, "unknown")
    server.awake.set()
    await asyncio.sleep(0.05)
    with pytest.raises(socket.gaierror):
        await known.of(HERE)
    assert server.asked[HERE[1]] == 2
    assert not troubles
