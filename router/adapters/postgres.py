"""PostgreSQL: snapshots by LISTEN/NOTIFY, credit and settlement by the ledger's SQL functions.

The functions are installed by the marketplace's billing migrations and are the only writers of
money. Nothing here runs on the path of a call, except a lease that has to be fetched.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from router.contracts.record import UsageRecord, decode_record
from router.contracts.snapshot import SNAPSHOT_CHANNEL, Snapshot, decode_snapshot
from router.domain.errors import LedgerUnavailable
from router.ports import (
    Beat,
    Claim,
    ClaimState,
    KeptAnswer,
    LeaseGrant,
    Member,
    RecordRejected,
    SlotClaim,
    Spending,
)

POOL_SIZE_MAX = 4
WAIT_S = 3.0
RECONNECT_S = 1.0
POLL_S = 30.0
"""A lost notification is noticed this late at the latest."""

LATEST_SQL = "SELECT version, body::text FROM routing_snapshot ORDER BY version DESC LIMIT 1"

SPENT_SQL = """
SELECT coalesce(sum(charge_nano), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE created_at >= since.day), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE created_at >= since.week), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE created_at >= since.month), 0)::bigint
FROM usage_event,
     (SELECT date_trunc('day', now(), 'UTC') AS day, date_trunc('week', now(), 'UTC') AS week,
             date_trunc('month', now(), 'UTC') AS month) AS since
WHERE organisation_id = %s AND (%s::bigint IS NULL OR key_id = %s)
"""
CALL_SQL = """
SELECT (to_jsonb(call) || jsonb_build_object(
    'created_at_ms', floor(extract(epoch FROM call.created_at) * 1000)::bigint,
    'lease_id', coalesce(call.lease_id::text, '')))::text
FROM usage_event AS call WHERE request_id = %s
"""

log = logging.getLogger(__name__)

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def open_pool(database_url: str) -> Pool:
    """A small pool that is not yet opened and does not need the database to be there."""
    return AsyncConnectionPool(
        database_url,
        min_size=1,
        max_size=POOL_SIZE_MAX,
        open=False,
        timeout=WAIT_S,
        kwargs={"autocommit": True, "connect_timeout": 3},
        name="router",
    )


class _SnapshotBroken(Exception):
    """The newest snapshot cannot be read."""


class PostgresSnapshotSource:
    """Follows ``routing_snapshot`` over a connection of its own; reconnects for ever."""

    def __init__(self, database_url: str, *, poll_s: float = POLL_S) -> None:
        """Without a notification it looks every ``poll_s``."""
        self._database_url = database_url
        self._poll_s = poll_s

    async def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """See :class:`router.ports.SnapshotSource`. A broken snapshot is logged and skipped."""
        seen = 0
        while True:
            try:
                async with await AsyncConnection.connect(
                    self._database_url, autocommit=True, connect_timeout=3
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


class PostgresLedger:
    """A lease bank and a record sink."""

    def __init__(self, pool: Pool, *, router_id: str, lease_ttl_s: int) -> None:
        self._pool = pool
        self._router_id = router_id
        self._lease_ttl_s = lease_ttl_s

    async def take(self, account_id: int, need_nano: int, want_nano: int) -> LeaseGrant | None:
        """See :class:`router.ports.LeaseBank`."""
        row = await _fetch(
            self._pool,
            "SELECT lease_id::text, amount_nano, extract(epoch FROM expires_at)::float8 "
            "FROM billing_lease_take(%s, %s, %s, %s, %s)",
            (self._router_id, account_id, need_nano, want_nano, self._lease_ttl_s),
        )
        return None if row is None else LeaseGrant(row[0], account_id, row[1], row[2])

    async def close(self, lease_id: str) -> None:
        """See :class:`router.ports.LeaseBank`."""
        await _fetch(self._pool, "SELECT billing_lease_close(%s)", (lease_id,))

    async def close_all(self) -> None:
        """See :class:`router.ports.LeaseBank`."""
        await _fetch(self._pool, "SELECT billing_lease_close_all(%s)", (self._router_id,))

    async def posted_nano(self, account_id: int) -> int:
        """See :class:`router.ports.Books`."""
        row = await _fetch(
            self._pool, "SELECT posted_nano FROM billing_account WHERE id = %s", (account_id,)
        )
        return row[0] if row is not None else 0

    async def spent(self, organisation_id: int, key_id: int | None) -> Spending:
        """See :class:`router.ports.Books`."""
        row = await _fetch(self._pool, SPENT_SQL, (organisation_id, key_id, key_id))
        return Spending(*row) if row is not None else Spending()

    async def call(self, request_id: str) -> UsageRecord | None:
        """See :class:`router.ports.Books`."""
        row = await _fetch(self._pool, CALL_SQL, (request_id,))
        return decode_record(row[0]) if row is not None else None

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        """See :class:`router.ports.RecordSink`."""
        body = msgspec.json.encode(records).decode()
        try:
            await _fetch(self._pool, "SELECT count(*) FROM billing_settle(%s::jsonb)", (body,))
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
            raise RecordRejected(str(error)) from error


class PostgresCluster:
    """Where routers of one installation meet."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def beat(
        self,
        me: Member,
        ttl_s: float,
        demands: Mapping[str, float],
        claims: Mapping[str, SlotClaim],
    ) -> Beat:
        """See :class:`router.ports.Cluster`."""
        row = await _fetch(
            self._pool,
            "SELECT routing_beat(%s, %s, %s, %s::jsonb, %s::jsonb)::text",
            (
                me.router_id,
                me.url,
                ttl_s,
                msgspec.json.encode(demands).decode(),
                msgspec.json.encode(claims).decode(),
            ),
        )
        if row is None:
            raise LedgerUnavailable("the cluster's tables gave no answer")
        return msgspec.json.decode(row[0], type=Beat)

    async def leave(self, router_id: str) -> None:
        """See :class:`router.ports.Cluster`."""
        await _fetch(self._pool, "SELECT routing_leave(%s)", (router_id,))


class PostgresIdempotencyStore:
    """Answers that every router of the installation can give again."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, scope: str, key: str, fingerprint: str, ttl_s: float) -> Claim:
        """See :class:`router.ports.IdempotencyStore`."""
        row = await _fetch(
            self._pool,
            "SELECT state, status, headers::text, body "
            "FROM routing_idempotency_claim(%s, %s, %s, %s)",
            (scope, key, fingerprint, ttl_s),
        )
        if row is None:
            raise LedgerUnavailable("the table of idempotency keys gave no answer")
        state = ClaimState(row[0])
        if state is not ClaimState.DONE:
            return Claim(state)
        headers = msgspec.json.decode(row[2], type=tuple[tuple[str, str], ...])
        return Claim(state, KeptAnswer(row[1], headers, bytes(row[3])))

    async def keep(self, scope: str, key: str, answer: KeptAnswer, ttl_s: float) -> None:
        """See :class:`router.ports.IdempotencyStore`."""
        await _fetch(
            self._pool,
            "UPDATE routing_idempotency SET status = %s, headers = %s::jsonb, body = %s, "
            "expires_at = now() + make_interval(secs => %s) WHERE scope = %s AND key = %s "
            "RETURNING 1",
            (
                answer.status,
                msgspec.json.encode(answer.headers).decode(),
                answer.body,
                ttl_s,
                scope,
                key,
            ),
        )

    async def forget(self, scope: str, key: str) -> None:
        """See :class:`router.ports.IdempotencyStore`."""
        await _fetch(
            self._pool,
            "DELETE FROM routing_idempotency WHERE scope = %s AND key = %s AND status IS NULL "
            "RETURNING 1",
            (scope, key),
        )


async def _fetch(pool: Pool, sql: str, parameters: tuple[Any, ...]) -> TupleRow | None:
    try:
        async with pool.connection() as connection:
            cursor = await connection.execute(sql.encode(), parameters)
            return await cursor.fetchone()
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise LedgerUnavailable(
            "the ledger cannot be reached, try again", retry_after_s=2
        ) from error
