"""Hears of changes by PostgreSQL's LISTEN, on one connection of the web process."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection

from marketplace.shared.changes import CHANNEL

AGAIN_S = 1.0
"""The pause after the connection was lost. Until then who waits looks now and then."""
IDLE_S = 60.0
"""The connection is kept this long after the last one who waited has left."""
DJANGOS = {"context", "cursor_factory", "prepare_threshold"}
"""What Django's own connections have beside the parameters of the database's URL."""

log = logging.getLogger(__name__)


class Listener:
    """Sets the events of those who wait for a topic. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def listening(self, topic: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the topic changed."""
        event = asyncio.Event()
        self._waiting[topic].add(event)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="listener")
        try:
            yield event
        finally:
            self._waiting[topic].discard(event)
            if not self._waiting[topic]:
                del self._waiting[topic]

    async def _listen(self) -> None:
        while self._waiting:
            try:
                await self._listen_once()
            except (psycopg.Error, OSError) as error:
                log.warning("no word of changes for %g s: %s", AGAIN_S, error)
                await asyncio.sleep(AGAIN_S)

    async def _listen_once(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            **{**_parameters(), "application_name": "waypost listener"}, autocommit=True
        ) as listening:
            await listening.execute(f"LISTEN {CHANNEL}")
            self._tell_all()  # Earlier changes are not reported again.
            while self._waiting:
                async for notice in listening.notifies(timeout=IDLE_S):
                    for event in self._waiting.get(notice.payload, ()):
                        event.set()

    def _tell_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()


def _parameters() -> dict[str, Any]:
    given = connection.get_connection_params()
    return {name: value for name, value in given.items() if name not in DJANGOS}
