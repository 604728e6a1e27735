"""``python -m benchmarks.stack``: HTTP servers and clients under a bare proxy, side by side.

For every pair of a server and a client: a proxy of a few lines (no routing, no checks) in a process
of its own, in front of a worker that answers at once, both on the loopback. Printed are plain
requests and streams of 50 events a second, the CPU time of the proxy for each, and how long after a
client's leaving the worker sees its connection closed: before it has said anything, and in the
middle of a stream. The proxy has the first core, the worker and the load the others. Compare within
one run only.
"""

import argparse
import asyncio
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from typing import Any

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.errors import CallError
from router.ingress.exchange import Exchange, Headers
from router.ingress.http1 import HTTPServer
from router.settings import Limits
from router.upstream.http import HTTPClient

EVENTS = 50
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
ANSWER = b'{"object":"chat.completion","choices":[{"message":{"content":"hello"}}]}'
CONCURRENCY = 32
PAIRS = tuple(
    f"{server}+{client}"
    for server in ("granian", "uvicorn", "own")
    for client in ("aiohttp", "pyreqwest", "pyqwest", "own")
)
"""``own`` is ``router/ingress/http1.py`` and ``router/upstream/connection.py``."""

START_MAX_S = 10.0
PLAIN = {"/plain"}
SILENT = "/silent"
HUNG = "/hang"
GONE_MAX_S = 3.0


def main() -> int:
    """Run the pairs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load for each figure")
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--port", type=int, default=18_700)
    parser.add_argument("--proxy", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.proxy:
        server, client = options.proxy.split("+")
        _proxy(server, client, options.port, options.port + 1)
        return 0
    print(f"{'server + client':20s}   req/s    us  streams/s    us   told ms: silent  streaming")
    rows: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(options.repeats):
        for pair in options.pairs.split(","):
            rows.setdefault(pair, []).append(_measure(pair, options))
    for pair, runs in rows.items():
        rate, cpu, streams, stream_cpu, silent, streaming = (
            statistics.median(figures) for figures in zip(*runs, strict=True)
        )
        print(
            f"{pair:20s} {rate:7.0f} {cpu:5.0f} {streams:10.0f} {stream_cpu:5.0f} "
            f"{silent:17.1f} {streaming:10.1f}",
            flush=True,
        )
    return 0


# The worker and the load


class Worker(asyncio.Protocol):
    """Answers at once, streams where it is asked to, or begins a stream and falls silent."""

    asked: asyncio.Event
    closed: asyncio.Event
    closed_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport: Any = transport
        self._data = b""
        self._hung = False

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or len(body) < len(BODY):
            return
        self._data = b""
        path = head.split(b" ", 2)[1].decode()
        self._hung = path in (HUNG, SILENT)
        if path == SILENT:
            Worker.asked.set()
            return
        if path in PLAIN:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (len(ANSWER), ANSWER)
            )
            return
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        if self._hung:
            self._transport.write(_chunk(EVENT))
        else:
            asyncio.get_running_loop().call_soon(self._emit, EVENTS)

    def _emit(self, left: int) -> None:
        if not left:
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(_chunk(EVENT))
        asyncio.get_running_loop().call_soon(self._emit, left - 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._hung:
            Worker.closed_s = time.perf_counter()
            Worker.closed.set()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, headers: str
) -> None:
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-type: application/json\r\n"
        f"content-length: {len(BODY)}\r\n\r\n".encode()
        + BODY
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    if b"content-length" in head.lower():
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")


async def load(port: int, path: str, seconds: float, headers: str = "") -> float:
    """Calls a second with a fixed number under way."""
    until_s = time.perf_counter() + seconds

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        done = 0
        while time.perf_counter() < until_s:
            await _call(reader, writer, path, headers)
            done += 1
        writer.close()
        return done

    return sum(await asyncio.gather(*(one() for _ in range(CONCURRENCY)))) / seconds


async def _told_ms(port: int, path: str) -> float:
    """Milliseconds from a client's leaving until the worker sees it; infinite where it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    Worker.asked, Worker.closed = asyncio.Event(), asyncio.Event()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n"
    writer.write(head.encode() + BODY)
    await (Worker.asked.wait() if path == SILENT else reader.readuntil(b"}]}\n\n"))
    left_s = time.perf_counter()
    writer.transport.abort()
    with suppress(TimeoutError):
        await asyncio.wait_for(Worker.closed.wait(), GONE_MAX_S)
        return (Worker.closed_s - left_s) * 1e3
    return float("inf")


def _measure(pair: str, options: argparse.Namespace) -> tuple[float, ...]:
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {0} or {0})
    uvloop: Any = importlib.import_module("uvloop")

    async def run() -> tuple[float, ...]:
        loop = asyncio.get_running_loop()
        worker = await loop.create_server(Worker, "127.0.0.1", options.port + 1)
        with _started(pair, options.port) as pid:
            await answers(options.port)
            await load(options.port, "/plain", options.seconds / 4)
            figures: list[float] = []
            for path in ("/plain", "/stream"):
                before_s = _cpu_s(pid)
                rate = await load(options.port, path, options.seconds)
                figures += [rate, (_cpu_s(pid) - before_s) / (rate * options.seconds) * 1e6]
            for path in (SILENT, HUNG):
                figures.append(await _told_ms(options.port, path))
        worker.close()
        return tuple(figures)

    return uvloop.run(run())


async def answers(port: int, path: str = "/plain", headers: str = "") -> None:
    """Wait until calls are answered."""
    until_s = time.perf_counter() + START_MAX_S
    while time.perf_counter() < until_s:
        with suppress(OSError):
            connection = await asyncio.open_connection("127.0.0.1", port)
            return await _call(*connection, path, headers)
        await asyncio.sleep(0.05)
    raise TimeoutError("the proxy does not answer")


@contextmanager
def _started(pair: str, port: int) -> Any:
    command = [sys.executable, "-m", "benchmarks.stack", "--proxy", pair, "--port", str(port)]
    process = subprocess.Popen(command)  # noqa: S603
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# The proxy

Post = Callable[[str, bytes, Callable[[bytes, bool], Awaitable[None]]], Awaitable[None]]


def _proxy(server: str, client: str, port: int, worker_port: int) -> None:
    os.sched_setaffinity(0, {0})
    uvloop: Any = importlib.import_module("uvloop")

    async def serve() -> None:
        clients = {
            "aiohttp": _aiohttp,
            "pyreqwest": _pyreqwest,
            "pyqwest": _pyqwest,
            "own": _own_client,
        }
        post = await clients[client]()
        worker = f"http://127.0.0.1:{worker_port}"
        if server == "own":
            await _own_server(post, worker, port)
        else:
            app = _application(post, worker)
            await {"granian": _granian, "uvicorn": _uvicorn}[server](app, port)

    uvloop.run(serve())


def _application(post: Post, worker: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = (await receive())["body"]
        plain = scope["path"] == "/plain"

        async def give(chunk: bytes, first: bool) -> None:
            if first:
                headers = [
                    (b"content-type", b"application/json" if plain else b"text/event-stream")
                ]
                if plain:
                    headers.append((b"content-length", b"%d" % len(chunk)))
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": chunk, "more_body": not plain})

        call = asyncio.current_task()
        # A plain call is over too soon to be worth a watcher.
        watcher = None if plain else asyncio.ensure_future(_watch(receive, call))
        with suppress(asyncio.CancelledError):
            await post(worker + scope["path"], body, give)
            if not plain:
                await send({"type": "http.response.body", "body": b""})
        if watcher is not None:
            watcher.cancel()

    return app


async def _watch(receive: Any, call: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call.cancel()


class _Own:
    """The application for the project's own server."""

    def __init__(self, post: Post, worker: str) -> None:
        self._post = post
        self._worker = worker

    def admit(self, exchange: Exchange) -> None:
        """Everybody."""

    async def __call__(self, exchange: Exchange) -> None:
        plain = exchange.path == "/plain"

        async def give(chunk: bytes, first: bool) -> None:
            if plain:
                return await exchange.answer(200, [("content-type", "application/json")], chunk)
            if first:
                await exchange.start_stream([])
            await exchange.send(chunk)

        with suppress(asyncio.CancelledError):
            await self._post(self._worker + exchange.path, exchange.body, give)
            if not plain:
                await exchange.end_stream()

    def refusal(self, exchange: Exchange, error: CallError) -> tuple[int, Headers, bytes]:
        """Never needed here."""
        raise error


async def _own_server(post: Post, worker: str, port: int) -> None:
    server = HTTPServer(_Own(post, worker), Limits(), frozenset())
    await server.listen("127.0.0.1", port)
    await asyncio.Event().wait()


async def _own_client() -> Post:
    client = HTTPClient(Limits(), AddressPolicy(EVERYWHERE))
    headers = b"content-type: application/json\r\n"

    async def post(url: str, body: bytes, give: Any) -> None:
        connection = await client.post(url, headers, body)
        try:
            if url.endswith("/plain"):
                return await give(await connection.read(1 << 20), True)
            first = True
            while (chunk := await connection.chunk()) is not None:
                await give(chunk, first)
                first = False
        finally:
            client.release(connection)

    return post


async def _aiohttp() -> Post:
    aiohttp: Any = importlib.import_module("aiohttp")
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
    headers = {"content-type": "application/json"}

    async def post(url: str, body: bytes, give: Any) -> None:
        async with session.post(url, data=body, headers=headers) as response:
            if url.endswith("/plain"):
                return await give(await response.read(), True)
            first = True
            async for chunk in response.content.iter_any():
                await give(chunk, first)
                first = False

    return post


async def _pyreqwest() -> Post:
    module: Any = importlib.import_module("pyreqwest.client")
    client = module.ClientBuilder().build()

    async def post(url: str, body: bytes, give: Any) -> None:
        request = client.post(url).header("content-type", "application/json").body_bytes(body)
        if url.endswith("/plain"):
            response = await request.build().send()
            return await give(bytes(await response.bytes()), True)
        # Without the limit it hands nothing on before it has buffered 64 KiB.
        async with request.streamed_read_buffer_limit(0).build_streamed() as response:
            reader, first = response.body_reader, True
            while (chunk := await reader.read_chunk()) is not None:
                await give(bytes(chunk), first)
                first = False

    return post


async def _pyqwest() -> Post:
    pyqwest: Any = importlib.import_module("pyqwest")
    client = pyqwest.Client(
        pyqwest.HTTPTransport(
            http_version=pyqwest.HTTPVersion.HTTP1,
            pool_max_idle_per_host=1_000,
            enable_gzip=False,
            enable_brotli=False,
            enable_zstd=False,
            enable_otel=False,
        )
    )
    headers = {"content-type": "application/json"}

    async def post(url: str, body: bytes, give: Any) -> None:
        if url.endswith("/plain"):
            return await give((await client.post(url, headers, body)).content, True)
        async with client.stream("POST", url, headers, body) as response:
            first = True
            async for chunk in response.content:
                await give(bytes(chunk), first)
                first = False

    return post


async def _granian(app: Any, port: int) -> None:
    embed: Any = importlib.import_module("granian.server.embed")
    constants: Any = importlib.import_module("granian.constants")
    await embed.Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=constants.Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
    ).serve()


async def _uvicorn(app: Any, port: int) -> None:
    uvicorn: Any = importlib.import_module("uvicorn")
    config = uvicorn.Config(
        app, port=port, http="httptools", lifespan="off", access_log=False, log_level="error"
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    sys.exit(main())
