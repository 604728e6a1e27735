"""Calls to the router under way, in an event loop of its own thread.

The thread of the job has the database and the storage; this one has neither.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Protocol, Self

from marketplace.inference.callers import Caller
from marketplace.inference.router_client import Answer, RouterClient, RouterUnreachable
from marketplace.inference.tokens import CallerGone

TRIES = 3
"""Of a call whose worker failed it; the client itself tries again what can only be too early."""
TRY_AGAIN_S = 1.0
LINGERS: Mapping[str, str] = {"X-Route-Linger-S": "600"}
"""A call goes on in the router when this process dies: the next turn gets its answer."""
FAULTS = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One call; ``number`` says whose it is when it ends."""

    number: int
    path: str
    body: bytes
    idempotency_key: str
    deadline_s: float
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """``answer`` is None where there is none: ``error`` then says why. ``gone``: nobody pays."""

    ask: Ask
    answer: Answer | None = None
    error: str = ""
    gone: bool = False


class Client(Protocol):
    """What is used of a :class:`RouterClient`."""

    async def call(
        self,
        caller: Caller,
        path: str,
        body: bytes,
        *,
        deadline_s: float,
        idempotency_key: str,
        headers: Mapping[str, str],
    ) -> Answer: ...


Clients = Callable[[], AbstractAsyncContextManager[Client]]


class Calls:
    """Begin some, and take them as they end. Within a ``with``, whose end gives up the others."""

    def __init__(self, caller: Caller, clients: Clients = RouterClient) -> None:
        self._caller = caller
        self._clients = clients
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._begun: asyncio.Queue[Ask | None] = asyncio.Queue()
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._broken: BaseException | None = None
        self.running = 0
        self.running_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # The loop has ended already.
            self._loop.call_soon_threadsafe(self._begun.put_nowait, None)
        self._thread.join()

    def begin(self, ask: Ask) -> None:
        """Send it; :meth:`ended` reports its end."""
        self.running += 1
        self.running_bytes += len(ask.body)
        self._loop.call_soon_threadsafe(self._begun.put_nowait, ask)

    def ended(self, timeout_s: float) -> Ended | None:
        """The next one that ends within so many seconds."""
        try:
            ended = self._ended.get(timeout=timeout_s)
        except queue.Empty:
            if self._broken is not None:
                raise RuntimeError("the calls' thread has ended") from self._broken
            return None
        self.running -= 1
        self.running_bytes -= len(ended.ask.body)
        return ended

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._send_all())
        except Exception as error:  # noqa: BLE001 # Passed to the job's thread.
            self._broken = error
        finally:
            self._loop.close()

    async def _send_all(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        async with self._clients() as client:
            while (ask := await self._begun.get()) is not None:
                task = asyncio.create_task(self._send(client, ask))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _send(self, client: Client, ask: Ask) -> None:
        try:
            self._ended.put(Ended(ask, await self._answer(client, ask)))
        except CallerGone as error:
            self._ended.put(Ended(ask, error=str(error), gone=True))
        except RouterUnreachable as error:
            self._ended.put(Ended(ask, error=str(error)))
        except Exception as error:  # noqa: BLE001 # Its line must end, however it ended.
            self._ended.put(Ended(ask, error=f"{type(error).__name__}: {error}"))

    async def _answer(self, client: Client, ask: Ask) -> Answer:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + ask.deadline_s
        for tried in range(1, TRIES + 1):
            answer = await client.call(
                self._caller,
                ask.path,
                ask.body,
                deadline_s=max(until_s - loop.time(), 1.0),
                idempotency_key=ask.idempotency_key,
                headers={**LINGERS, **ask.headers},
            )
            pause_s = TRY_AGAIN_S * tried
            if answer.status not in FAULTS or loop.time() + pause_s >= until_s:
                break
            if tried < TRIES:
                await asyncio.sleep(pause_s)
        return answer
