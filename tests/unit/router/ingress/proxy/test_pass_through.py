"""What is about jobs goes to the web process and back as it comes, in bounded memory."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import httpx
import pytest

from router.ingress.http.http1 import Connection
from router.ingress.proxy.pass_through import JOBS, PassThrough
from router.settings import Limits, SettingsInvalid, settings_from_env
from tests.patience import PATIENCE_S
from tests.ports import free_ports
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, FakeUpstream, Line, in_time

ORIGIN = "http://pages.example"
AUTH = {"authorization": f"Bearer {KEY}"}
LIMITS = Limits(connect_timeout_s=30, file_bytes_max=1_000, body_bytes_max=100)
WIDE = Limits(connect_timeout_s=30, file_bytes_max=1 << 30)
MIB = 1024 * 1024
SOCKETS_BYTES = 24 * MIB
"""More than kernels hold of a body between two ends that wait."""
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Script = Callable[["Web", Reader, Writer], Awaitable[None]]


@dataclass
class Web:
    """The web process, by a script that runs once the head of a request was read."""

    script: Script
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the router has closed a connection before the script was over."""

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self.script(self, reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    def header(self, name: str) -> str | None:
        lines = self.heads[-1].decode().lower().split("\r\n")
        return dict(line.split(": ", 1) for line in lines[1:] if line).get(name)


async def body_of(web: Web, reader: Reader) -> bytes:
    """A body of either framing."""
    if web.header("transfer-encoding") != "chunked":
        return await reader.readexactly(int(web.header("content-length") or 0))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


async def answer_ok(web: Web, reader: Reader, writer: Writer) -> None:
    web.bodies.append(await body_of(web, reader))
    writer.write(OK)


def saying(answer: bytes) -> Script:
    """Answers this without a look at the body."""

    async def say(web: Web, reader: Reader, writer: Writer) -> None:
        writer.write(answer)

    return say


async def say_nothing(web: Web, reader: Reader, writer: Writer) -> None:
    """Until the router has hung up."""
    while await reader.read(MIB):
        pass
    web.left.set()


@dataclass
class Ways:
    client: httpx.AsyncClient
    web: Web

    @contextlib.asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[Reader, Writer]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.client.base_url.port)
        try:
            yield reader, writer
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def passing(script: Script = answer_ok, limits: Limits = LIMITS) -> AsyncIterator[Ways]:
    web = Web(script)
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        PassThrough(f"http://127.0.0.1:{port}", limits) as jobs,
        calling(Line(FakeUpstream(lambda _: OSError())), limits, (ORIGIN,), jobs=jobs) as client,
    ):
        yield Ways(client, web)


@contextlib.asynccontextmanager
async def without_web() -> AsyncIterator[Ways]:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with (
        PassThrough(url, LIMITS) as jobs,
        calling(Line(FakeUpstream(lambda _: OSError())), LIMITS, jobs=jobs) as client,
    ):
        yield Ways(client, Web(answer_ok))


def head(path: str = "/v1/files", *lines: str, method: str = "POST") -> bytes:
    shown = [f"{method} {path} HTTP/1.1", "host: h", f"authorization: Bearer {KEY}", *lines]
    return "\r\n".join([*shown, "", ""]).encode()


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_request_goes_up_and_its_answer_comes_down() -> None:
    lines = ["HTTP/1.1 418 Odd", "content-type: text/x", "x-kept: 1", "content-length: 3"]
    lines += ["connection: close, x-hop", "x-hop: 1", "keep-alive: timeout=5", "set-cookie: a=b"]
    async with passing(saying("\r\n".join([*lines, "", "tea"]).encode())) as ways:
        client, web = ways.client, ways.web
        mine = {"prefer": "wait", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", **AUTH}
        answer = await client.get("/v1/batches/b%20c?after=x&limit=2", headers=mine)
    assert web.heads[0].startswith(b"GET /v1/batches/b%20c?after=x&limit=2 HTTP/1.1\r\n")
    assert web.header("authorization") == AUTH["authorization"].lower()
    assert web.header("prefer") == "wait"
    assert web.header("cookie") is web.header("x-forwarded-for") is None
    assert (answer.status_code, answer.content) == (418, b"tea")
    assert (answer.headers["content-type"], answer.headers["x-kept"]) == ("text/x", "1")
    assert not {"x-hop", "keep-alive", "set-cookie", "connection"} & set(answer.headers)
    assert answer.headers["x-request-id"] == web.header("x-request-id")


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches/b/cancel", "/v1/predictions", "/v1/pipelines"]
)
async def test_a_body_goes_up_as_it_is_framed(path: str) -> None:
    async with passing() as ways:
        for content in (b"hello", in_pieces(b"hel", b"lo")):
            answer = await ways.client.post(path, content=content, headers=AUTH)
            assert (answer.status_code, answer.text) == (200, "ok")
    assert ways.web.bodies == [b"hello", b"hello"]
    assert [b"content-length: 5" in head.lower() for head in ways.web.heads] == [True, False]


@pytest.mark.parametrize("path", ["/v1/filesystem", "/v1/file", "/v2/files", "/files"])
async def test_nothing_else_is_passed_on(path: str) -> None:
    async with passing() as ways:
        answer = await ways.client.post(path, content=b"x", headers=AUTH)
    assert answer.status_code == 404
    assert not ways.web.heads


async def test_where_no_web_process_is_named_jobs_are_no_path_and_it_is_said_why() -> None:
    async with calling(Line(FakeUpstream(lambda _: OSError()))) as client:
        for answer in (
            await client.get("/v1/files", headers=AUTH),
            await client.post("/v1/batches", json={}, headers=AUTH),
        ):
            assert answer.status_code == 404
            assert "ROUTER_JOBS_URL" in answer.json()["error"]["message"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer x"}, {"x-api-key": "x"}])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_without_a_credential_nothing_goes_up(method: str, headers: dict[str, str]) -> None:
    async with passing() as ways:
        body = b"x" if method == "POST" else b""
        answer = await ways.client.request(method, "/v1/files", content=body, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert not ways.web.heads


async def test_the_head_is_checked_as_that_of_every_request() -> None:
    for lines, status in (
        (("authorization: Bearer y",), b"400"),
        (("content-encoding: gzip",), b"415"),
        (("content-length: x",), b"400"),
        (("x-long: " + "x" * 40_000,), b"431"),
    ):
        async with passing() as ways, ways.raw() as (reader, writer):
            writer.write(head("/v1/files", *lines))
            assert (await reader.readline()).split()[1] == status, lines
            assert not ways.web.heads


@pytest.mark.parametrize(("path", "most"), [("/v1/files", 1_000), ("/v1/batches", 100)])
async def test_a_body_over_its_bound_is_refused_declared_or_not(path: str, most: int) -> None:
    async with passing() as ways:
        fits = await ways.client.post(path, content=b"x" * most, headers=AUTH)
        assert fits.status_code == 200
        for content in (b"x" * (most + 1), in_pieces(b"x" * most, b"x")):
            answer = await ways.client.post(path, content=content, headers=AUTH)
            assert answer.status_code == 413
            assert str(most) in answer.json()["error"]["message"]
        await in_time(lambda: not ways.web.bodies[1:])


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


def connection_of() -> Connection:
    """The router's side of the one connection that is open; others may still be in memory."""
    every = [each for each in gc.get_objects() if type(each) is Connection]
    (found,) = (each for each in every if each in each._shared.connections)
    return found


async def test_an_upload_is_too_slow_only_if_nothing_of_it_comes() -> None:
    async with passing(say_nothing) as ways, ways.raw() as (reader, writer):
        writer.write(head("/v1/files", "content-length: 3"))
        await in_time(lambda: ways.web.connections == 1)
        connection = connection_of()
        for piece in (b"x", b"y"):
            since_s = connection.since_s
            writer.write(piece)
            await in_time(lambda since_s=since_s: connection.since_s > since_s)
            connection.overdue(connection.since_s + LIMITS.body_timeout_s - 1)
        assert connection.phase.value == "body"
        connection.overdue(connection.since_s + LIMITS.body_timeout_s)
        assert (await reader.readline()).split()[1] == b"408"
        await asyncio.wait_for(ways.web.left.wait(), PATIENCE_S)


async def test_a_client_that_waits_for_us_is_not_too_slow() -> None:
    released = asyncio.Event()

    async def read_late(web: Web, reader: Reader, writer: Writer) -> None:
        await released.wait()
        await answer_ok(web, reader, writer)

    async with passing(read_late, WIDE) as ways, ways.raw() as (reader, writer):
        size = 16 * MIB
        writer.write(head("/v1/files", f"content-length: {size}"))
        writer.write(b"x" * size)
        await in_time(lambda: bool(ways.web.heads))
        connection = connection_of()
        await in_time(connection._is_awaited)
        connection.overdue(inf)
        released.set()
        assert (await reader.readline()).split()[1] == b"200"


async def test_an_early_answer_reaches_who_still_sends_and_ends_the_connection() -> None:
    busy = (
        b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nretry-after: 5\r\nconnection: close\r\n\r\nfull"
    )
    async with passing(saying(busy)) as ways, ways.raw() as (reader, writer):
        writer.write(head("/v1/files", "content-length: 900") + b"x" * 10)
        received = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert received.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 5" in received
    assert b"connection: close" in received
    assert received.endswith(b"full")


@pytest.mark.parametrize("sent", [b"", b"x" * 10])
async def test_a_client_that_leaves_takes_its_request_with_it(sent: bytes) -> None:
    async with passing(say_nothing) as ways:
        async with ways.raw() as (_, writer):
            writer.write(head("/v1/files", "content-length: 10") + sent)
            await in_time(lambda: ways.web.connections == 1 and bool(ways.web.heads) >= bool(sent))
        await asyncio.wait_for(ways.web.left.wait(), PATIENCE_S)


async def test_events_come_down_one_by_one_until_the_client_leaves() -> None:
    received = asyncio.Event()

    async def tell(web: Web, reader: Reader, writer: Writer) -> None:
        writer.write(EVENTS + b"data: 1\n\n")
        await received.wait()
        writer.write(b"data: 2\n\n")
        await say_nothing(web, reader, writer)

    async with passing(tell) as ways:
        path = "/v1/predictions/p/stream"
        async with ways.client.stream("GET", path, headers=AUTH) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            events = answer.aiter_raw()
            assert await anext(events) == b"data: 1\n\n"
            received.set()
            assert await anext(events) == b"data: 2\n\n"
        await asyncio.wait_for(ways.web.left.wait(), PATIENCE_S)


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event() -> None:
    async def wait(web: Web, reader: Reader, writer: Writer) -> None:
        writer.write(EVENTS)
        await say_nothing(web, reader, writer)

    async with (
        passing(wait) as ways,
        ways.client.stream("GET", "/v1/predictions/p", headers=AUTH) as answer,
    ):
        assert answer.status_code == 200


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


async def test_pages_may_call_and_ask_before() -> None:
    async with passing() as ways:
        asked = {"origin": ORIGIN, "access-control-request-method": "DELETE"}
        preflight = await ways.client.options("/v1/files/f", headers=asked)
        assert preflight.status_code == 204
        assert "DELETE" in preflight.headers["access-control-allow-methods"]
        assert not ways.web.heads
        answer = await ways.client.get("/v1/files", headers={"origin": ORIGIN, **AUTH})
        assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_a_client_that_expects_100_is_told_to_send_once_somebody_reads() -> None:
    asking = head("/v1/files", "content-length: 2", "expect: 100-continue")
    async with passing() as ways, ways.raw() as (reader, writer):
        writer.write(asking)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert ways.web.bodies == [b"hi"]
    async with without_web() as ways, ways.raw() as (reader, writer):
        writer.write(asking)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")


async def test_a_client_of_http_1_0_is_served() -> None:
    async with passing(saying(EVENTS + b"data: 1\n\n")) as ways, ways.raw() as (reader, writer):
        writer.write(head("/v1/predictions/p", method="GET").replace(b"HTTP/1.1", b"HTTP/1.0"))
        received = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert received.partition(b"\r\n\r\n")[2] == b"data: 1\n\n"


async def test_so_many_run_at_once_and_no_more() -> None:
    limits = Limits(connect_timeout_s=30, jobs_max=1)
    async with passing(say_nothing, limits) as ways, ways.raw() as (_, writer):
        writer.write(head(method="GET"))
        await in_time(lambda: bool(ways.web.heads))
        answer = await ways.client.get("/v1/files", headers=AUTH)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "router_busy")
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("url", ["web:8000", "ftp://web", "http://", "http://web/below"])
def test_an_invalid_address_stops_the_start(url: str) -> None:
    env = {"WAYPOST_KEY_PEPPER": "p", "DATABASE_URL": "d", "ROUTER_JOBS_URL": url}
    with pytest.raises(SettingsInvalid, match="ROUTER_JOBS_URL"):
        settings_from_env(env)
    assert settings_from_env({**env, "ROUTER_JOBS_URL": "http://web:1/"}).jobs_url == "http://web:1"
