"""Clients that record what they receive."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

from tests.chaos.harness import KEY
from tests.chaos.market import OWNED

CONNECT_S = 1.0
CONTENT = b'"content":"x "'


@dataclass
class Seen:
    """One call as its client saw it. ``status`` is 0 when nothing came."""

    call: str
    streamed: bool
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    tokens: int = 0
    """Of a stream."""
    whole: bool = False

    @property
    def id(self) -> str:
        return self.headers.get("x-request-id", "")

    @property
    def charge_nano(self) -> int:
        """The cost that the answer reported."""
        return int(self.headers["x-cost-nano-usd"])


async def call(
    port: int,
    name: str,
    tokens: int = 2,
    deed: str = "answer",
    *,
    stream: bool = False,
    model: str = OWNED,
    leave_after: int | None = None,
    host: str = "127.0.0.1",
    key: str = KEY,
    connect_s: float = CONNECT_S,
    **fields: object,
) -> Seen:
    """One call on its own connection. Raises ``OSError`` when nobody listens in time.

    With ``leave_after`` the client hangs up once it has so many tokens, or at once when 0.
    """
    seen = Seen(name, stream)
    async with asyncio.timeout(connect_s):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": f"{name} {tokens} {deed}"}],
            "max_tokens": tokens,
            "stream": stream,
        } | fields
        raw = json.dumps(body).encode()
        writer.write(
            (
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
                f"content-length: {len(raw)}\r\nconnection: close\r\n\r\n"
            ).encode()
            + raw
        )
        await _listen(reader, seen, leave_after)
    except (OSError, asyncio.IncompleteReadError):
        pass  # The router died. Record what arrived until then.
    finally:
        writer.transport.abort() if leave_after is not None else writer.close()
    return seen


async def _listen(reader: asyncio.StreamReader, seen: Seen, leave_after: int | None) -> None:
    if leave_after == 0:
        await asyncio.sleep(0.1)
        return
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().strip().split("\r\n")
    seen.headers = dict(line.lower().split(": ", 1) for line in lines)
    seen.status = int(first.split(" ")[1])
    if "content-length" in seen.headers:
        seen.body = await reader.readexactly(int(seen.headers["content-length"]))
        seen.whole = True
        return
    while chunk := await reader.read(65_536):
        seen.body += chunk
        seen.tokens = seen.body.count(CONTENT)
        if leave_after is not None and seen.tokens >= leave_after:
            return
    seen.whole = b"data: [DONE]" in seen.body


async def insist(ports: list[int], name: str, *more: object, **fields: object) -> Seen | None:
    """The first router that listens; None when none does."""
    for port in ports:
        with contextlib.suppress(OSError):
            return await call(port, name, *more, **fields)  # type: ignore[arg-type]
    return None
