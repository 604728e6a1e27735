"""A worker that does what the prompt says and records what it produced.

In this process, or as one of its own: ``python -m tests.chaos.worker PORT LOG [ADDRESS]``. A
prompt is ``<call> <tokens> <deed>``. The log has a line ``<call> <what>`` for each token that went
out, and for what else happened to the call.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x "}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":%d}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BURST = 8
"""Tokens at a time."""
GAP_S = 0.02
SLOW_GAP_S = 0.1
SERVICE_S = 0.02
WAIT_S = 3.0


class ObedientWorker:
    """Deeds: ``answer``, ``mute`` (without usage), ``tear`` (the connection after the tokens),
    ``idle`` (after the tokens, until it is hung up on), ``slow`` (one token at a time), ``refuse``
    (422) and ``wait`` (before the answer). Only the first worker that is asked: ``fail`` (500) and
    ``lag`` (wait).
    """

    def __init__(self, port: int, log: Path, address: str = "127.0.0.1") -> None:
        self.port = port
        self._address = address
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._path = log

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._serve, self._address, self.port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def _note(self, call: str, what: str, times: int = 1) -> None:
        os.write(self._log, f"{call} {what}\n".encode() * times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    _send(writer, 200 if head.startswith(b"GET /health ") else 404, {})
                    continue
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                await self._answer(reader, writer, body)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The router left, or the test is over.
        finally:
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict
    ) -> None:
        words = body["messages"][0]["content"].split()
        # A probe of the router says next to nothing.
        call, tokens, deed = words if len(words) == 3 else ("probe", "1", "answer")
        first = deed in ("fail", "lag") and not produced(self._path, "asked")[call]
        self._note(call, "asked")
        if deed == "fail" and first:
            return _send(writer, 500, {"error": {"message": "broken"}})
        if deed == "refuse":
            return _send(writer, 422, {"error": {"message": "no"}})
        left = asyncio.ensure_future(reader.read(1))
        try:
            waits = deed == "wait" or (deed == "lag" and first)
            done, _ = await asyncio.wait({left}, timeout=WAIT_S if waits else SERVICE_S)
            if done:
                return self._note(call, "cancelled")
            if body.get("stream"):
                await self._stream(left, writer, call, int(tokens), deed)
            else:
                self._note(call, "token", int(tokens))
                usage = {"prompt_tokens": 0, "completion_tokens": int(tokens)}
                choices = [{"message": {"content": "x " * int(tokens)}, "finish_reason": "stop"}]
                answer: dict[str, object] = {"choices": choices}
                _send(writer, 200, answer if deed == "mute" else answer | {"usage": usage})
        finally:
            left.cancel()
            await asyncio.wait({left})

    async def _stream(
        self,
        left: asyncio.Future[bytes],
        writer: asyncio.StreamWriter,
        call: str,
        tokens: int,
        deed: str,
    ) -> None:
        writer.write(STREAM)
        burst, gap_s = (1, SLOW_GAP_S) if deed == "slow" else (BURST, GAP_S)
        for start in range(0, tokens, burst):
            count = min(burst, tokens - start)
            self._note(call, "token", count)
            _chunk(writer, EVENT * count)
            done, _ = await asyncio.wait({left}, timeout=gap_s)
            if done:
                return self._note(call, "cancelled")
        if deed == "tear":
            writer.transport.abort()
        elif deed == "idle":
            await left
            self._note(call, "cancelled")
        else:
            usage = b"" if deed == "mute" else USAGE % tokens
            _chunk(writer, LAST + usage + DONE)
            writer.write(b"0\r\n\r\n")


def produced(log: Path, what: str = "token") -> Counter[str]:
    """How often each call is in the log."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line.split()[0] for line in lines if line.endswith(" " + what))


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _send(writer: asyncio.StreamWriter, status: int, body: dict[str, object]) -> None:
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
    writer.write(head.encode() + b"\r\n\r\n" + raw)


async def _main(port: int, log: Path, *address: str) -> None:
    async with await ObedientWorker(port, log, *address).start() as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
