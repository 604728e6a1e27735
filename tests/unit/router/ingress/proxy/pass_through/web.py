"""A web process by script behind the router, and a client before it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from router.ingress.proxy.pass_through import PassThrough
from router.settings import Limits
from tests.ports import free_ports
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, FakeUpstream, Line

ORIGIN = "http://pages.example"
AUTH = {"authorization": f"Bearer {KEY}"}
LIMITS = Limits(connect_timeout_s=30, file_bytes_max=1_000, body_bytes_max=100)
WIDE = Limits(connect_timeout_s=30, file_bytes_max=1 << 30)
MIB = 1024 * 1024
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
