"""A router as a separate process, workers on bare sockets, and callers that keep a log."""

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.backend import backend
from tests.patience import PATIENCE_S
from tests.ports import free_ports

KEY = "k"
MODEL = "m"
SCALE = float(os.environ.get("CHAOS_SCALE", "1"))
"""1 is the short form that every test run has; `make chaos` sets more."""

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x "}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
ANSWER = json.dumps(
    {
        "model": MODEL,
        "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
).encode()


@dataclass
class Worker:
    """Answers after ``service_s``, give or take the share ``spread`` of it; ``slots`` at a time.

    Streams stop after ``events`` of them: idle, or torn off.
    """

    service_s: float = 0.0
    spread: float = 0.0
    events: int = 5
    tears: bool = False
    idles: bool = False
    slots: int = 4
    port: int = 0
    asked: int = 0
    answered: int = 0
    cancelled: int = 0
    running: int = 0
    _server: asyncio.Server | None = None
    _free: asyncio.Semaphore = field(init=False)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def entry(self) -> dict[str, object]:
        """Its line in a fleet file."""
        url = f"http://127.0.0.1:{self.port}"
        return {
            "id": f"w{self.port}",
            "url": url,
            "class": "c",
            "slots": self.slots,
            "model": MODEL,
        }

    async def start(self) -> None:
        self._free = asyncio.Semaphore(self.slots)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    def die(self) -> None:
        """Like ``kill -9``: nobody listens and every connection is reset."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.asked += 1
                await self._answer(reader, writer, body)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The caller left, or the test is over.
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]
    ) -> None:
        self.running += 1
        try:
            if self.service_s:
                async with self._free:
                    await asyncio.sleep(self.service_s * (1 + self.spread * random.uniform(-1, 1)))
            if body.get("stream"):
                await self._stream(reader, writer)
            elif self.idles:
                await self._until_hung_up_on(reader)
            else:
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d"
                writer.write(head % len(ANSWER) + b"\r\n\r\n" + ANSWER)
                await writer.drain()
            self.answered += 1
        finally:
            self.running -= 1

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(self.events):
            writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        await writer.drain()
        if self.tears:
            writer.transport.abort()
        elif self.idles:
            await self._until_hung_up_on(reader)
        else:
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(LAST), LAST))
            await writer.drain()

    async def _until_hung_up_on(self, reader: asyncio.StreamReader) -> None:
        await reader.read(1)
        self.cancelled += 1


@contextlib.asynccontextmanager
async def working(*workers: Worker) -> AsyncIterator[tuple[Worker, ...]]:
    """Workers that listen for the time of the block."""
    for worker in workers:
        await worker.start()
    yield workers
    for worker in workers:
        worker.die()


@dataclass(frozen=True)
class Router:
    pid: int
    port: int

    @property
    def rss_mib(self) -> float:
        """Resident memory."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def forget_peak(self) -> None:
        """Restart the measurement of ``peak_mib``."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @property
    def peak_mib(self) -> float:
        """The highest resident memory so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (line,) = (item for item in lines if item.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024


@contextlib.contextmanager
def routing(
    folder: Path, *workers: Worker, port: int | None = None, **limits: object
) -> Iterator[Router]:
    """A router in front of workers that already listen."""
    folder.mkdir(exist_ok=True)
    fleet = folder / "fleet.json"
    fleet.write_text(json.dumps([worker.entry for worker in workers]))
    port = port or free_ports(1)[0]
    words = ["router", "--fleet", str(fleet), "--port", str(port), "--key", KEY]
    names = {f"ROUTER_{name.upper()}": str(value) for name, value in limits.items()}
    kept = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        with backend(words, f"http://127.0.0.1:{port}/readyz", folder / "log") as process:
            yield Router(process.pid, port)
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass
class Told:
    """What one caller received."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def request(*, stream: bool = False, key: str = KEY) -> bytes:
    """A chat call."""
    body = json.dumps(
        {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


async def ask(port: int, *, stream: bool = False, key: str = KEY) -> Told:
    """One call on its own connection. Raises ``OSError`` when it fails."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(stream=stream, key=key))
        whole = await reader.read()
    finally:
        writer.close()
    head, _, body = whole.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("closed without an answer")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Told(int(first.split(" ")[1]), headers, body, time.perf_counter() - began)


async def ask_and_leave(port: int, worker: Worker, *, stream: bool = True) -> None:
    """Of a stream that has begun, or of a call that its worker has."""
    asked = worker.asked
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(stream=stream))
    if stream:
        await reader.readuntil(b'"x "')
    async with asyncio.timeout(PATIENCE_S):
        while worker.asked == asked:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    writer.transport.abort()
