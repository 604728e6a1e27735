"""A bounded HTTP client for checks: every answer has a size, every call an end."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from marketplace.catalog.addresses import AddressRefused
from marketplace.providers.conformance.findings import Reply, shortened

CALL_TIMEOUT_S = 45.0
CONNECT_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
EVENTS_MAX = 5_000


class AnswerTooLong(Exception):
    """More bytes than an answer to a check has."""


FAULTS = (AnswerTooLong, TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError)
"""What an endpoint can do wrong before its answer is looked at."""


class Client:
    """Calls one endpoint by paths below its base."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport) -> None:
        self._base = url.rstrip("/")
        # A proxy of the machine's environment must not stand between us and the endpoint.
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            headers={
                # The other side may be closing a reused connection, through no fault of its own.
                "connection": "close",
                # Nothing is unpacked: a few bytes may be packed gigabytes.
                "accept-encoding": "identity",
            },
            timeout=httpx.Timeout(CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Reply:
        """The reply to a GET."""
        return await self._call("GET", path, b"", {}, f"GET {path}")

    async def post(
        self,
        path: str,
        body: Mapping[str, Any] | bytes,
        headers: Mapping[str, str] | None = None,
        shown: str = "",
    ) -> Reply:
        """The reply to a POST of JSON, or of bytes with their own headers."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = shown or f"POST {path} {shortened(body if not isinstance(body, bytes) else '')}"
        all_headers = {"content-type": "application/json", **(headers or {})}
        return await self._call("POST", path, content, all_headers, sent[:600])

    async def stream(self, path: str, body: Mapping[str, Any]) -> Reply:
        """The whole of a stream of server-sent events; ``events`` are its data lines."""
        started = time.monotonic()
        sent, events, first_ms = f"POST {path} {shortened(body)}"[:600], [], 0.0
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S), self._opened(path, body) as response:
                if response.status_code != 200 or not _is_stream(response):
                    content = await _bounded(response)
                    return _reply(response, content, sent, started)
                async for line in _data_lines(response):
                    first_ms = first_ms or (time.monotonic() - started) * 1e3
                    events.append(line)
                    if len(events) >= EVENTS_MAX:
                        raise AnswerTooLong
                return _reply(response, b"", sent, started, tuple(events), first_ms)
        except FAULTS as error:
            return _failed(error, sent, started)

    @asynccontextmanager
    async def left_after_first(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[httpx.Response]:
        """A stream that is open past its first data line, then closed without reading on."""
        async with self._opened(path, body) as response:
            if response.status_code == 200:
                async for _line in _data_lines(response):
                    break
            yield response

    @asynccontextmanager
    async def _opened(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        async with self._client.stream("POST", self._base + path, json=dict(body)) as response:
            yield response

    async def _call(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str], sent: str
    ) -> Reply:
        started = time.monotonic()
        try:
            async with (
                asyncio.timeout(CALL_TIMEOUT_S),
                self._client.stream(
                    method, self._base + path, content=content, headers=dict(headers)
                ) as response,
            ):
                return _reply(response, await _bounded(response), sent, started)
        except FAULTS as error:
            return _failed(error, sent, started)


def _reply(
    response: httpx.Response,
    content: bytes,
    sent: str,
    started: float,
    events: tuple[str, ...] = (),
    first_ms: float = 0.0,
) -> Reply:
    took_ms = (time.monotonic() - started) * 1e3
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(
        response.status_code, content, headers, sent, took_ms, first_ms or took_ms, events=events
    )


def _failed(error: Exception, sent: str, started: float) -> Reply:
    """A call without an answer."""
    took_ms = (time.monotonic() - started) * 1e3
    if isinstance(error, AnswerTooLong):
        why = f"the answer is longer than {ANSWER_BYTES_MAX} bytes"
    elif isinstance(error, TimeoutError | httpx.TimeoutException):
        why = f"nothing within {CALL_TIMEOUT_S:g} s"
    else:
        why = f"{type(error).__name__}: {error}".strip(": ")
    refused = isinstance(error.__cause__, AddressRefused)
    return Reply(sent=sent, took_ms=took_ms, error=str(error) if refused else why, refused=refused)


def _is_stream(response: httpx.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")


async def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > ANSWER_BYTES_MAX:
            raise AnswerTooLong
    return bytes(content)


async def _data_lines(response: httpx.Response) -> AsyncIterator[str]:
    """Contents of the ``data:`` lines, as they come."""
    rest, received = b"", 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received > ANSWER_BYTES_MAX:
            raise AnswerTooLong
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode(errors="replace")
    if rest.startswith(b"data:"):
        yield rest[5:].strip().decode(errors="replace")
