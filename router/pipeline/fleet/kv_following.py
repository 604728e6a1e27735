"""Follows what engines say of their KV caches, for those that the catalog says publish it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from router.domain.catalog import Worker
from router.pipeline.attempts.dispatch import Dispatcher
from router.ports.upstream import KvEvents

LOOK_S = 1.0
"""How often the catalog is looked at."""

SPACING = 4
"""After a message, an engine is left alone for this many times as long as the message took. So an
engine that floods the router takes a fifth of its time, and loses what it sends too fast.
"""


class KvFollowing:
    """One task for each engine that is followed."""

    def __init__(
        self, dispatcher: Dispatcher, source: KvEvents, *, clock: Callable[[], float]
    ) -> None:
        self._dispatcher = dispatcher
        self._source = source
        self._clock = clock

    async def run(self) -> None:
        """Follow until cancelled."""
        following: dict[Worker, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                wanted = self._wanted()
                for worker in following.keys() - wanted:
                    following.pop(worker).cancel()
                    self._dispatcher.kv_events(worker.id, None)
                for worker in wanted - following.keys():
                    following[worker] = group.create_task(self._follow(worker))
                await asyncio.sleep(LOOK_S)

    def _wanted(self) -> set[Worker]:
        endpoints = self._dispatcher.scheduler.fleet.endpoints.values()
        workers = (state.endpoint.worker for state in endpoints)
        return {_address(worker) for worker in workers if worker.kv_events_port}

    async def _follow(self, worker: Worker) -> None:
        async with aclosing(self._source.follow(worker)) as heard:
            async for events in heard:
                begun_s = self._clock()
                self._dispatcher.kv_events(worker.id, events)
                await asyncio.sleep(SPACING * (self._clock() - begun_s))


def _address(worker: Worker) -> Worker:
    """What tells one connection from another: not its health, nor its slots."""
    return Worker(
        worker.id,
        "",
        worker.url,
        "",
        0,
        kv_events_port=worker.kv_events_port,
        kv_replay_port=worker.kv_replay_port,
    )
