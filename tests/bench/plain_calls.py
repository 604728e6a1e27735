"""The smallest worker and the smallest load there can be, for what a call costs in between."""

import asyncio
import time
from contextlib import suppress
from typing import Any

BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
ANSWER = b'{"object":"chat.completion","choices":[{"message":{"content":"hello"}}]}'
CONCURRENCY = 32
START_MAX_S = 15.0


class Worker(asyncio.Protocol):
    """Answers at once, whatever it is asked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        _, found, body = self._data.partition(b"\r\n\r\n")
        if not found or len(body) < len(BODY):
            return
        self._data = b""
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(ANSWER), ANSWER)
        )


async def load(
    port: int, path: str, seconds: float, headers: str, callers: int = CONCURRENCY
) -> float:
    """Calls a second with a fixed number under way."""
    until_s = time.perf_counter() + seconds

    async def caller() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        done = 0
        while time.perf_counter() < until_s:
            await _call(reader, writer, path, headers)
            done += 1
        writer.close()
        return done

    return sum(await asyncio.gather(*(caller() for _ in range(callers)))) / seconds


async def answers(port: int, path: str, headers: str) -> None:
    """Wait until calls are answered. Raises ``TimeoutError``."""
    until_s = time.perf_counter() + START_MAX_S
    while time.perf_counter() < until_s:
        with suppress(OSError):
            connection = await asyncio.open_connection("127.0.0.1", port)
            return await _call(*connection, path, headers)
        await asyncio.sleep(0.05)
    raise TimeoutError("the router does not answer")


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
