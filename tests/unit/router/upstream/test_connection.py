"""Connections to workers: kept, bounded, closed when nobody waits, and never trusted."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.connection import BUFFER_BYTES_MAX, HEAD_BYTES_MAX, WINDOW_BYTES
from router.upstream.http import HTTPClient, header_lines, post_for_answer
from tests.examples import examples
from tests.patience import PATIENCE_S
from tests.unit.router.pipeline.line import in_time

LIMITS = Limits(connect_timeout_s=30)
SHORT = Limits(silence_timeout_s=0.3, connect_timeout_s=30)
"""For what is about silence: a machine that pauses for so long is not rare."""
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BYTES_MAX = 1_000
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Worker:
    """Answers the nth request on a connection by ``script(n)``: bytes, or None to hang up."""

    def __init__(self, script: Callable[[int], bytes | None], *, then_closes: bool = False) -> None:
        self.script = script
        self.then_closes = then_closes
        self.connections = 0
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                answer = self.script(len(self.requests))
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if self.then_closes:
                    break
        writer.close()
        self.closed.set()


@contextlib.asynccontextmanager
async def working(worker: Worker, limits: Limits = LIMITS) -> AsyncIterator[tuple[HTTPClient, str]]:
    server = await asyncio.start_server(worker.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as client:
        yield client, f"http://{host}:{port}/v1"
    server.close()
    for writer in worker.writers:
        writer.close()


async def body_of(client: HTTPClient, url: str) -> bytes:
    return (await post_for_answer(client, url, b"", b"{}", BYTES_MAX))[1]


async def failure_of(
    answer: bytes | None, limits: Limits = LIMITS, *, then_closes: bool = False
) -> str:
    worker = Worker(lambda _: answer, then_closes=then_closes)
    async with working(worker, limits) as (client, url):
        with pytest.raises(UpstreamFailed) as failed:
            async with asyncio.timeout(PATIENCE_S):
                await body_of(client, url)
    return failed.value.reason


def ended_after_ms(client: HTTPClient) -> set[int]:
    """How long the kernel waits for hosts to take what was sent to them; 0 is without end."""
    return {
        connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        for connection in client._all
    }


async def test_a_connection_is_kept_for_the_next_call() -> None:
    worker = Worker(lambda _: OK)
    async with working(worker) as (client, url):
        assert [await body_of(client, url) for _ in range(3)] == [b"ok"] * 3
    assert worker.connections == 1
    assert worker.requests[0].startswith(b"POST /v1 HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"more",
        OK + OK,
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(last: bytes) -> None:
    worker = Worker(lambda _: last)
    async with working(worker) as (client, url):
        assert [await body_of(client, url) for _ in range(2)] == [b"ok"] * 2
    assert worker.connections == 2


async def test_a_kept_connection_that_the_worker_closed_costs_nobody_an_error() -> None:
    worker = Worker(lambda n: None if n == 2 else OK)
    async with working(worker) as (client, url):
        assert await body_of(client, url) == b"ok"
        assert await body_of(client, url) == b"ok"
    assert worker.connections == 2
    assert len(worker.requests) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "reset"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "reset"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", "reset"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe", "reset"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", "protocol"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "protocol"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "http_302",
        ),
        (b"HTTP/1.1 200 OK\r\na: " + b"x" * (HEAD_BYTES_MAX + 1), "head_too_large"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", "answer_too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "answer_too_large"),
        (CHUNKED + b"2\r\nok\r\n0\r\n" + b"a: b\r\n" * HEAD_BYTES_MAX, "trailers_too_large"),
        (CHUNKED + b"0\r\na: " + b"x" * 3 * HEAD_BYTES_MAX, "trailers_too_large"),
    ],
)
async def test_what_a_worker_does_wrong_has_a_word(answer: bytes | None, reason: str) -> None:
    assert await failure_of(answer, then_closes=True) == reason


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"]
)
async def test_silence_ends_the_call_wherever_it_falls(answer: bytes) -> None:
    assert await failure_of(answer, SHORT) == "timeout"


@pytest.mark.parametrize(("said", "seconds"), [(b"7", 7.0), (b"9999", 60.0), (b"soon", 0.0)])
async def test_a_full_worker_says_for_how_long(said: bytes, seconds: float) -> None:
    full = b"HTTP/1.1 429 Slow Down\r\nretry-after: %b\r\ncontent-length: 0\r\n\r\n" % said
    async with working(Worker(lambda _: full)) as (client, url):
        with pytest.raises(UpstreamFailed) as failed:
            await body_of(client, url)
    assert not failed.value.is_fault
    assert failed.value.retry_after_s == seconds


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with working(Worker(lambda _: b"HTTP/1.1 200 OK\r\n\r\nok", then_closes=True)) as (
        c,
        url,
    ):
        assert await body_of(c, url) == b"ok"


async def test_informational_answers_are_not_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK
    async with working(Worker(lambda _: early)) as (client, url):
        headers, body = await post_for_answer(client, url, b"", b"{}", BYTES_MAX)
    assert body == b"ok"
    assert b"link" not in headers


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhe"])
async def test_the_worker_is_told_at_once_when_nobody_waits_any_more(answer: bytes) -> None:
    worker = Worker(lambda _: answer)
    async with working(worker) as (client, url):
        call = asyncio.ensure_future(body_of(client, url))
        await asyncio.wait_for(worker.asked.wait(), PATIENCE_S)
        call.cancel()
        await asyncio.wait_for(worker.closed.wait(), 1.0)


async def test_a_slow_reader_slows_the_worker_down() -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 50_000_000
    worker = Worker(lambda _: endless)
    async with working(worker, SHORT) as (client, url):
        connection = await client.post(url, b"", b"{}")
        await asyncio.sleep(2 * SHORT.silence_timeout_s)  # Held up by us: not its silence.
        assert connection.is_paused
        chunk = await connection.chunk()
        assert chunk is not None
        assert BUFFER_BYTES_MAX < len(chunk) < 4 * BUFFER_BYTES_MAX
        client.release(connection)
        await asyncio.wait_for(worker.closed.wait(), PATIENCE_S)


async def test_a_worker_may_take_its_time_to_read_a_large_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.upstream.connection.LOST_S", 1)
    begins = asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await begins.wait()
        await worker.serve(reader, writer)

    worker = Worker(lambda _: OK)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
    server = await asyncio.start_server(read_late, sock=listening)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        # The smaller one fits into this end's kernel, so that nothing is left to write.
        sizes = 1_000_000, 10_000_000
        asking = [
            asyncio.ensure_future(post_for_answer(client, url, b"", bytes(size), BYTES_MAX))
            for size in sizes
        ]
        await asyncio.sleep(3)
        assert ended_after_ms(client) == {0}
        begins.set()
        assert [(await asked)[1] for asked in asking] == [b"ok"] * len(sizes)
        await in_time(lambda: ended_after_ms(client) == {1_000})
    server.close()


async def test_an_inside_address_is_refused_when_it_is_connected_to() -> None:
    async with HTTPClient(LIMITS, AddressPolicy()) as client:
        for host in ("127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254"):
            with pytest.raises(UpstreamFailed, match="address_refused"):
                await client.post(f"http://{host}:9/x", b"", b"")


async def test_the_address_that_was_checked_is_the_one_that_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker(lambda _: OK)
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def rebinding(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", (address, port)) for address in next(answers)]

    async with working(worker) as (_, url):
        port = int(url.split(":")[2].split("/")[0])
        async with HTTPClient(LIMITS, AddressPolicy(["127.0.0.0/8"])) as client:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding)
            assert await body_of(client, f"http://rebind.example:{port}/v1") == b"ok"
            assert await body_of(client, f"http://rebind.example:{port}/v1") == b"ok"
    assert worker.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "http://",
        "http://h:x/",
        "http://h/a b",
        "nothing",
        f"http://{'x' * 64}.example/",
    ],
)
async def test_a_url_that_cannot_be_called_is_a_failure(url: str) -> None:
    async with HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        with pytest.raises(UpstreamFailed, match="bad_url"):
            await client.post(url, b"", b"")


def test_a_header_cannot_smuggle_another() -> None:
    assert header_lines((("A", "b"),)) == b"A: b\r\n"
    for value in ("b\r\nC: d", "b\nC: d", "b\rC", "b\0"):
        with pytest.raises(UpstreamRefused):
            header_lines((("A", value),))


@settings(max_examples=examples(40))
@given(
    prefix=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", OK[:-2], b"HTTP/1.1 200 OK\r\n\r\n"]),
    noise=st.binary(max_size=200),
)
def test_whatever_a_worker_says_ends_in_an_answer_or_a_failure(prefix: bytes, noise: bytes) -> None:
    async def run() -> None:
        async with working(Worker(lambda _: prefix + noise, then_closes=True)) as (client, url):
            async with asyncio.timeout(PATIENCE_S):
                with contextlib.suppress(UpstreamFailed, UpstreamRefused):
                    await body_of(client, url)

    asyncio.run(run())
