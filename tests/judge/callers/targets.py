"""Who is asked: a gateway, or the workers themselves, in turn or by what nobody can know."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from tests.judge.callers.http_client import Answer, Client

PATH = "/v1/chat/completions"


class Call(Struct, frozen=True):
    """One call to make. ``events`` is how many its answer has, 0 where it is not streamed."""

    number: int
    due_s: float
    body: bytes
    events: int = 0
    session: str = ""


class Target(Protocol):
    """Who is asked."""

    async def ask(self, call: Call) -> Answer:
        """The answer. Cancelled, it hangs up."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...


class Gateway:
    """The gateway under test."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._client = Client(port, PATH, headers)

    async def ask(self, call: Call) -> Answer:
        return await self._client.ask(call.body, session=call.session)

    def close(self) -> None:
        self._client.close()


class InTurn:
    """No gateway: the load itself calls one worker after the other."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._clients = [Client(port, PATH) for port in ports]
        self._next = itertools.cycle(self._clients)

    async def ask(self, call: Call) -> Answer:
        return await next(self._next).ask(call.body)

    def close(self) -> None:
        for client in self._clients:
            client.close()
