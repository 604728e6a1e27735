"""A service that answers as it is told, and either client before it: what holds for one holds for
the other.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from waypost import AsyncClient, Client, Retries

Answer = Callable[[httpx.Request], httpx.Response]


def said(status: int, body: Any = None, **headers: str) -> Answer:
    """An answer of JSON; ``retry_after`` is the header of that name."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, json=body, headers=named)


def error(status: int, code: str, **headers: str) -> Answer:
    """An error in OpenAI's shape."""
    return said(status, {"error": {"message": "so it is", "code": code, "param": None}}, **headers)


def broken(kind: type[httpx.TransportError]) -> Answer:
    """No answer."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise kind("as it was told", request=request)

    return answer


def events(*data: str | dict[str, Any], end: str = "") -> Answer:
    """A stream of these events."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in data]
    body = "".join(f"data: {text}\n\n" for text in texts) + end
    return lambda _: httpx.Response(200, content=body.encode(), headers={"x-request-id": "r1"})


@dataclass
class Service:
    """Gives its ``answers`` in turn and keeps what it was asked."""

    answers: list[Answer]
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        return self.answers.pop(0)(request)

    async def awaited(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        return self.answers.pop(0)(request)


SETTINGS = {
    "api_key": "wp_live_key",
    "base_url": "http://router",
    "management_url": "http://pages",
    "retries": Retries(tries_max=3, pause_s=0.0, pause_s_max=0.0),
}


def blocking(service: Service, what: Callable[[Any], Any]) -> Any:
    """The value of an operation, or the items of a stream, by the client that blocks."""
    with Client(**{**SETTINGS, "transport": httpx.MockTransport(service)}) as client:
        found = what(client)
        return list(found) if isinstance(found, Iterator) or hasattr(found, "__next__") else found


def awaiting(service: Service, what: Callable[[Any], Any]) -> Any:
    """The same by the client that is awaited."""

    async def run() -> Any:
        transport = httpx.MockTransport(service.awaited)
        async with AsyncClient(**{**SETTINGS, "transport": transport}) as client:
            found = what(client)
            return [item async for item in found] if hasattr(found, "__aiter__") else await found

    return asyncio.run(run())
