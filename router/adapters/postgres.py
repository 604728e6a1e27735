"""PostgreSQL: snapshots by LISTEN/NOTIFY, credit and settlement by the ledger's SQL functions.

The marketplace's billing migrations install those functions, which are the only writers of money.
No call waits for anything here except a lease that has to be fetched.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
import psycopg.errors
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from router.contracts.record import UsageRecord, decode_record, encode_records
from router.contracts.snapshot import SNAPSHOT_CHANNEL, Snapshot, decode_snapshot
from router.contracts.word import SILENT, Word
from router.domain.errors import LedgerUnavailable
from router.domain.money import Purse
from router.ports.bank import LeaseGrant, Shortage
from router.ports.books import BudgetState, Spending
from router.ports.cluster import Beat, Member, SlotClaim
from router.ports.idempotency import Claim, Claimant, ClaimState, KeptAnswer
from router.ports.records import RecordRejected, RefusalCount
from router.ports.taken import Taken

RECALL_CHANNEL = "waypost_recall"
POOL_SIZE_MAX = 4
WAIT_S = 3.0
"""The longest wait for a connection."""
ANSWER_S = 5.0
SETTLE_S = 20.0
"""The longest wait for an answer: a database that hangs refuses nothing by itself."""
RECONNECT_S = 1.0
RETRY_S = 2.0
"""How long the pool tries to connect with growing pauses before it starts over."""
POLL_S = 30.0
"""A lost notification is noticed within this time."""

ALONE_SQL = "SELECT pg_try_advisory_lock(hashtext('waypost_router'), hashtext(%s))"
ALIVE_SQL = "SELECT pg_try_advisory_lock_shared(hashtext('waypost_life'), hashtext(%s))"
"""Marks this router's life as running: ``billing_lease_stranded`` skips its leases."""
TAKE_SQL = """
SELECT amount_nano, extract(epoch FROM expires_at)::float8, budget_id, left_nano, leased_nano,
       CASE WHEN amount_nano = 0 AND leased_nano > 0
            THEN least(leased_nano, billing_lease_stranded(%(account)s, budget_id, %(life)s))
            ELSE 0 END
FROM billing_lease_take(
    %(lease)s, %(router)s, %(life)s, %(account)s, %(budgets)s, %(need)s, %(want)s, %(ttl_s)s)
"""
KEEPALIVE_SQL = (
    "SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2"
)
"""Makes the database notice within seconds that a router's machine is gone."""
CLOSE_EARLIER_SQL = "SELECT billing_lease_close_earlier(%s, %s)"
CLOSE_EARLIER_IF_ALONE_SQL = """
SELECT billing_lease_close_earlier(name, life) FROM (VALUES (%s, %s)) AS self (name, life)
WHERE pg_try_advisory_xact_lock(hashtext('waypost_router'), hashtext(name))
"""
ALONE_WITHIN_S = 6.0
"""How long a starting router waits for the last session of its earlier run to end."""

LATEST_SQL = "SELECT version, body::text FROM routing_snapshot ORDER BY version DESC LIMIT 1"

# From the daily rollups, whose days are in UTC.
SPENT_SQL = """
SELECT coalesce(sum(charge_nano), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE starts_at >= since.day), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE starts_at >= since.week), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE starts_at >= since.month), 0)::bigint
FROM usage_rollup,
     (SELECT date_trunc('day', now(), 'UTC') AS day, date_trunc('week', now(), 'UTC') AS week,
             date_trunc('month', now(), 'UTC') AS month) AS since
WHERE span = 'day' AND organisation_id = %s AND (%s::bigint IS NULL OR key_id = %s)
"""
BUDGET_SQL = """
SELECT limit_nano,
       CASE WHEN "window" <> 'ever' AND window_starts_at < date_trunc("window", now(), 'UTC')
            THEN 0 ELSE spent_nano END,
       "window"
FROM billing_budget WHERE id = %s
"""
CALL_SQL = """
SELECT (to_jsonb(call) || jsonb_build_object(
    'created_at_ms', floor(extract(epoch FROM call.created_at) * 1000)::bigint,
    'lease_id', coalesce(call.lease_id::text, '')))::text
FROM usage_event AS call WHERE request_id = %s
"""

REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.RaiseException)
"""The record is at fault. Other errors (a missing right, a read-only standby) can be put right."""

log = logging.getLogger(__name__)

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def open_pool(database_url: str) -> Pool:
    """A small pool that is not open yet and does not need a running database."""
    return AsyncConnectionPool(
        database_url,
        min_size=1,
        max_size=POOL_SIZE_MAX,
        open=False,
        timeout=WAIT_S,
        reconnect_timeout=RETRY_S,
        kwargs={"autocommit": True, "connect_timeout": 3},
        name="router",
    )


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


class PostgresBank:
    """The leases of one run of one router, and the recalls of other routers."""

    def __init__(
        self, pool: Pool, database_url: str, *, router_id: str, life: str, lease_ttl_s: float
    ) -> None:
        self._pool = pool
        self._database_url = database_url
        self._router_id = router_id
        self._life = life
        self._lease_ttl_s = lease_ttl_s
        self._is_alone = False

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        """See :class:`router.ports.bank.LeaseBank`."""
        row = await _fetch(
            self._pool,
            TAKE_SQL,
            {
                "lease": lease_id,
                "router": self._router_id,
                "life": self._life,
                "account": purse.account_id,
                "budgets": list(purse.budgets),
                "need": need_nano,
                "want": want_nano,
                "ttl_s": self._lease_ttl_s,
            },
        )
        if row is None:
            raise LedgerUnavailable("the ledger gave no answer")
        if row[0]:
            return LeaseGrant(lease_id, purse, row[0], row[1])
        return Shortage(*row[2:])

    async def grow(self, lease_id: str, need_nano: int, want_nano: int) -> int | Shortage:
        """See :class:`router.ports.bank.LeaseBank`."""
        sql = "SELECT * FROM billing_lease_grow(%s, %s, %s)"
        row = await _fetch(self._pool, sql, (lease_id, need_nano, want_nano))
        if row is None:
            raise LedgerUnavailable("the ledger gave no answer")
        return row[0] or Shortage(*row[1:])

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        """See :class:`router.ports.bank.LeaseBank`."""
        await _fetch(self._pool, "SELECT billing_lease_shrink(%s, %s)", (lease_id, amount_nano))

    async def extend(self, lease_id: str) -> float:
        """See :class:`router.ports.bank.LeaseBank`."""
        row = await _fetch(
            self._pool,
            "SELECT extract(epoch FROM billing_lease_extend(%s, %s))::float8",
            (lease_id, self._lease_ttl_s),
        )
        return row[0] or 0.0 if row is not None else 0.0

    async def close(self, lease_id: str) -> None:
        """See :class:`router.ports.bank.LeaseBank`."""
        await _fetch(self._pool, "SELECT billing_lease_close(%s)", (lease_id,))

    async def close_earlier(self) -> None:
        """See :class:`router.ports.bank.LeaseBank`."""
        # A router that stops before it was alone with its name is alone for this statement.
        sql = CLOSE_EARLIER_SQL if self._is_alone else CLOSE_EARLIER_IF_ALONE_SQL
        if await _fetch(self._pool, sql, (self._router_id, self._life)) is None:
            raise LedgerUnavailable(f"another router may still run as {self._router_id!r}")

    async def recalls(self) -> AsyncIterator[int]:
        """See :class:`router.ports.bank.LeaseBank`. Over its own connection."""
        while True:
            try:
                async with await AsyncConnection.connect(
                    self._database_url, autocommit=True, connect_timeout=3
                ) as connection:
                    await self._be_alone(connection)
                    await connection.execute(f"LISTEN {RECALL_CHANNEL}")
                    async for notify in connection.notifies():
                        yield int(notify.payload)
            except psycopg.Error as error:
                log.warning("recalls of credit: database away: %s", error)
            await asyncio.sleep(RECONNECT_S)

    async def _be_alone(self, connection: AsyncConnection[TupleRow]) -> None:
        """Hold this router's name while the connection lasts.

        Once it was held, a running router goes on even if the database still counts an old session
        as alive.
        """
        await connection.execute(KEEPALIVE_SQL)
        await connection.execute(ALIVE_SQL, (self._life,))
        until_s = time.monotonic() + ALONE_WITHIN_S
        while True:
            row = await (await connection.execute(ALONE_SQL, (self._router_id,))).fetchone()
            if row is not None and row[0]:
                self._is_alone = True
            if self._is_alone:
                return
            if time.monotonic() > until_s:
                raise Taken(
                    f"another router runs as {self._router_id!r}; give each a ROUTER_ID of its own"
                )
            await asyncio.sleep(RECONNECT_S)


class PostgresLedger:
    """Books and a record sink."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def posted_nano(self, account_id: int) -> int:
        """See :class:`router.ports.books.Books`."""
        row = await _fetch(
            self._pool, "SELECT posted_nano FROM billing_account WHERE id = %s", (account_id,)
        )
        return row[0] if row is not None else 0

    async def budget(self, budget_id: int) -> BudgetState | None:
        """See :class:`router.ports.books.Books`."""
        row = await _fetch(self._pool, BUDGET_SQL, (budget_id,))
        return BudgetState(*row) if row is not None else None

    async def spent(self, organisation_id: int, key_id: int | None) -> Spending:
        """See :class:`router.ports.books.Books`."""
        row = await _fetch(self._pool, SPENT_SQL, (organisation_id, key_id, key_id))
        return Spending(*row) if row is not None else Spending()

    async def call(self, request_id: str) -> UsageRecord | None:
        """See :class:`router.ports.books.Books`."""
        row = await _fetch(self._pool, CALL_SQL, (request_id,))
        return decode_record(row[0]) if row is not None else None

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        """See :class:`router.ports.records.RecordSink`."""
        body = encode_records(records).decode()
        sql = "SELECT count(*) FROM billing_settle(%s::jsonb)"
        try:
            await _fetch(self._pool, sql, (body,), answer_s=SETTLE_S)
        except LedgerUnavailable as error:
            if isinstance(error.__cause__, REFUSALS):
                raise RecordRejected(str(error.__cause__)) from error
            raise


class PostgresRefusals:
    """Counts refused calls, for pages."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_refusals(self, counted: Mapping[RefusalCount, int]) -> None:
        """See :class:`router.ports.records.RefusalSink`."""
        rows = [{**msgspec.structs.asdict(kind), "calls": n} for kind, n in counted.items()]
        body = msgspec.json.encode(rows).decode()
        await _fetch(self._pool, "SELECT usage_refusals_add(%s::jsonb)", (body,))


class PostgresCluster:
    """The meeting place of an installation's routers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def beat(
        self,
        me: Member,
        ttl_s: float,
        demands: Mapping[str, float],
        claims: Mapping[str, SlotClaim],
        word: Word = SILENT,
    ) -> Beat:
        """See :class:`router.ports.cluster.Cluster`."""
        row = await _fetch(
            self._pool,
            "SELECT routing_beat(%s, %s, %s, %s::jsonb, %s::jsonb, %s::jsonb)::text",
            (
                me.router_id,
                me.url,
                ttl_s,
                msgspec.json.encode(demands).decode(),
                msgspec.json.encode(claims).decode(),
                msgspec.json.encode(word).decode(),
            ),
        )
        if row is None:
            raise LedgerUnavailable("the cluster's tables gave no answer")
        return msgspec.json.decode(row[0], type=Beat)

    async def leave(self, router_id: str) -> None:
        """See :class:`router.ports.cluster.Cluster`."""
        await _fetch(self._pool, "SELECT routing_leave(%s)", (router_id,))


class PostgresIdempotencyStore:
    """Answers that every router of the installation can give again.

    A claim's token begins with the router and its life, so that a router that starts again knows
    what was under way when it died.
    """

    def __init__(self, pool: Pool, *, router_id: str, life: str) -> None:
        self._pool = pool
        self._router = f"{router_id}\n"
        self._life = f"{router_id}\n{life}\n"

    async def forget_earlier(self) -> int:
        """Free the keys of calls that died with this router's earlier lives; says how many."""
        row = await _fetch(
            self._pool,
            "WITH gone AS (DELETE FROM routing_idempotency WHERE status IS NULL "
            "AND starts_with(token, %s) AND NOT starts_with(token, %s) RETURNING 1) "
            "SELECT count(*) FROM gone",
            (self._router, self._life),
        )
        return int(row[0]) if row is not None else 0

    async def claim(self, claimant: Claimant, fingerprint: str, ttl_s: float) -> Claim:
        """See :class:`router.ports.idempotency.IdempotencyStore`."""
        row = await _fetch(
            self._pool,
            "SELECT state, status, headers::text, body "
            "FROM routing_idempotency_claim(%s, %s, %s, %s, %s)",
            (claimant.scope, claimant.key, self._token(claimant), fingerprint, ttl_s),
        )
        if row is None:
            raise LedgerUnavailable("the table of idempotency keys gave no answer")
        state = ClaimState(row[0])
        if state is not ClaimState.DONE:
            return Claim(state)
        headers = msgspec.json.decode(row[2], type=tuple[tuple[str, str], ...])
        return Claim(state, KeptAnswer(row[1], headers, bytes(row[3])))

    async def keep(self, claimant: Claimant, answer: KeptAnswer, ttl_s: float) -> None:
        """See :class:`router.ports.idempotency.IdempotencyStore`."""
        await _fetch(
            self._pool,
            "UPDATE routing_idempotency SET status = %s, headers = %s::jsonb, body = %s, "
            "expires_at = now() + make_interval(secs => %s) WHERE scope = %s AND key = %s "
            "AND token = %s AND status IS NULL RETURNING 1",
            (
                answer.status,
                msgspec.json.encode(answer.headers).decode(),
                answer.body,
                ttl_s,
                claimant.scope,
                claimant.key,
                self._token(claimant),
            ),
        )

    async def forget(self, claimant: Claimant) -> None:
        """See :class:`router.ports.idempotency.IdempotencyStore`."""
        await _fetch(
            self._pool,
            "DELETE FROM routing_idempotency WHERE scope = %s AND key = %s AND token = %s "
            "AND status IS NULL RETURNING 1",
            (claimant.scope, claimant.key, self._token(claimant)),
        )

    def _token(self, claimant: Claimant) -> str:
        return self._life + claimant.token


async def _fetch(
    pool: Pool,
    sql: str,
    parameters: tuple[Any, ...] | dict[str, Any],
    *,
    answer_s: float = ANSWER_S,
) -> TupleRow | None:
    task = asyncio.current_task()
    cancelled = task.cancelling() if task is not None else 0
    try:
        async with pool.connection() as connection:
            hanging_up = asyncio.get_running_loop().call_later(answer_s, _hang_up, connection)
            try:
                cursor = await connection.execute(sql.encode(), parameters)
                return await cursor.fetchone()
            finally:
                hanging_up.cancel()
    except psycopg.Error as error:
        if not isinstance(error, psycopg.OperationalError):
            log.error("the ledger does not do what it is asked: %s", error)
        raise LedgerUnavailable(
            "the ledger cannot be reached, try again", retry_after_s=2
        ) from error
    finally:
        # The pool waits by wait_for, which can lose a cancellation (before Python 3.12), and an
        # error can hide one: this task must still be cancelled.
        if task is not None and task.cancelling() > cancelled:
            raise asyncio.CancelledError


def _hang_up(connection: AsyncConnection[TupleRow]) -> None:
    """End it as if the server had: a cancellation would ask the server and wait for it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
