"""Snapshots of the catalog, by LISTEN/NOTIFY."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from router.adapters.postgres.pool import NOTICES_LOSS, RECONNECT_S
from router.contracts.snapshot import SNAPSHOT_CHANNEL, Snapshot, decode_snapshot

POLL_S = 30.0
"""A lost notification is noticed within this time."""
LATEST_SQL = "SELECT version, body::text FROM routing_snapshot ORDER BY version DESC LIMIT 1"

log = logging.getLogger(__name__)


class _SnapshotBroken(Exception):
    """The newest snapshot cannot be read."""


class PostgresSnapshotSource:
    """Follows ``routing_snapshot`` over its own connection, and reconnects for ever."""

    def __init__(self, database_url: str, *, poll_s: float = POLL_S) -> None:
        """Without a notification it looks every ``poll_s``."""
        self._database_url = database_url
        self._poll_s = poll_s

    async def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """See :class:`router.ports.catalog.SnapshotSource`.

        A broken snapshot is logged and skipped.
        """
        seen = 0
        while True:
            try:
                async with await AsyncConnection.connect(
                    self._database_url, autocommit=True, **NOTICES_LOSS
                ) as connection:
                    await connection.execute(f"LISTEN {SNAPSHOT_CHANNEL}")
                    while True:
                        with contextlib.suppress(_SnapshotBroken):
                            snapshot = await self._newer_than(connection, seen)
                            seen = snapshot.version if snapshot else seen
                            yield snapshot
                        await self._notified(connection)
            except psycopg.Error as error:
                log.warning("snapshots: database away, the last one stays in use: %s", error)
                await asyncio.sleep(RECONNECT_S)

    async def _newer_than(
        self, connection: AsyncConnection[TupleRow], seen: int
    ) -> Snapshot | None:
        row = await (await connection.execute(LATEST_SQL)).fetchone()
        if row is None or row[0] <= seen:
            return None
        try:
            snapshot = decode_snapshot(row[1])
        except ValueError as error:
            log.error("snapshot %d cannot be used, the last one stays: %s", row[0], error)
            raise _SnapshotBroken from error
        return msgspec.structs.replace(snapshot, version=row[0])

    async def _notified(self, connection: AsyncConnection[TupleRow]) -> None:
        async for _ in connection.notifies(timeout=self._poll_s, stop_after=1):
            pass
