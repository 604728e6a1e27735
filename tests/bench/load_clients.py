"""What one call costs the load's own process, by client: httpx and aiohttp, on the loopback.

``python -m tests.bench.load_clients``: bounded to a few seconds. CPU time of this process, the
server's apart; the median of rounds that take turns.
"""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
import httpx

CALLS = 400
ROUNDS = 7
WIDTHS = (1, 16)
BODY = b'{"model":"m","input":"' + b"word " * 64 + b'"}'
ANSWER = b'{"data":[{"embedding":[' + b"0.123," * 255 + b"0.123]}]}"
TYPE = ("content-type", "application/json")
HEAD = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}\r\n\r\n"
READ_BYTES = 65_536

Call = Callable[[], Awaitable[None]]


def main() -> None:
    """Print microseconds of CPU and of time a call."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        port = here.recv()
        found = asyncio.run(_compare(f"http://127.0.0.1:{port}"))
    finally:
        server.terminate()
        server.join(5)
    print(f"{'client':10s} {'at once':>8s} {'CPU, µs':>9s} {'time, µs':>9s}")
    for (name, width), rounds in sorted(found.items(), key=lambda one: (one[0][1], one[0][0])):
        cpu, took = (statistics.median(values) * 1e6 for values in zip(*rounds, strict=True))
        print(f"{name:10s} {width:8d} {cpu:9.0f} {took:9.0f}")


async def _compare(url: str) -> dict[tuple[str, int], list[tuple[float, float]]]:
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False) as over_httpx,
        aiohttp.ClientSession(url) as over_aiohttp,
    ):

        async def by_httpx() -> None:
            answer = await over_httpx.post("/v1/embeddings", content=BODY, headers=[TYPE])
            assert answer.status_code == 200

        async def by_aiohttp() -> None:
            path = "/v1/embeddings"
            async with over_aiohttp.post(path, data=BODY, headers=[TYPE]) as answer:
                assert await answer.read()

        calls: dict[str, Call] = {"httpx": by_httpx, "aiohttp": by_aiohttp}
        for number in range(ROUNDS + 1):
            for width in WIDTHS:
                for name, call in calls.items():
                    took = await _round(call, width)
                    if number:  # The first opens connections.
                        found.setdefault((name, width), []).append(took)
    return found


async def _round(call: Call, width: int) -> tuple[float, float]:
    """Seconds a call: of CPU, and of time."""

    async def lane() -> None:
        for _ in range(CALLS // width):
            await call()

    cpu_s, begun_s = time.process_time(), time.monotonic()
    await asyncio.gather(*(lane() for _ in range(width)))
    return (time.process_time() - cpu_s) / CALLS, (time.monotonic() - begun_s) / CALLS


class _Server(asyncio.Protocol):
    """Answers each request that has come whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0 and len(self._rest) >= end + 4 + len(BODY):
            self._rest = self._rest[end + 4 + len(BODY) :]
            self._transport.write(HEAD.encode() + ANSWER)  # type: ignore[attr-defined]


def _serve(told: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Server, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
