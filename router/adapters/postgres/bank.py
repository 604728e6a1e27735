"""Leases of credit by the ledger's SQL functions, and the mark of a router that runs."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from router.adapters.postgres.pool import NOTICES_LOSS, RECONNECT_S, Pool, fetch
from router.domain.errors import LedgerUnavailable
from router.domain.money import Purse
from router.ports.bank import LeaseGrant, Shortage
from router.ports.taken import Taken

RECALL_CHANNEL = "waypost_recall"
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

log = logging.getLogger(__name__)


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
        self.alone = asyncio.Event()
        """Set once this life has the router's name: then its earlier lives have ended."""

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        row = await fetch(
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
        sql = "SELECT * FROM billing_lease_grow(%s, %s, %s)"
        row = await fetch(self._pool, sql, (lease_id, need_nano, want_nano))
        if row is None:
            raise LedgerUnavailable("the ledger gave no answer")
        return row[0] or Shortage(*row[1:])

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        await fetch(self._pool, "SELECT billing_lease_shrink(%s, %s)", (lease_id, amount_nano))

    async def extend(self, lease_id: str) -> float:
        row = await fetch(
            self._pool,
            "SELECT extract(epoch FROM billing_lease_extend(%s, %s))::float8",
            (lease_id, self._lease_ttl_s),
        )
        return row[0] or 0.0 if row is not None else 0.0

    async def close(self, lease_id: str) -> None:
        await fetch(self._pool, "SELECT billing_lease_close(%s)", (lease_id,))

    async def close_earlier(self) -> None:
        # A router that stops before it was alone with its name is alone for this statement.
        sql = CLOSE_EARLIER_SQL if self.alone.is_set() else CLOSE_EARLIER_IF_ALONE_SQL
        if await fetch(self._pool, sql, (self._router_id, self._life)) is None:
            raise LedgerUnavailable(f"another router may still run as {self._router_id!r}")

    async def recalls(self) -> AsyncIterator[int]:
        """See :class:`router.ports.bank.LeaseBank`. Over its own connection."""
        while True:
            try:
                async with await AsyncConnection.connect(
                    self._database_url, autocommit=True, **NOTICES_LOSS
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
                self.alone.set()
            if self.alone.is_set():
                return
            if time.monotonic() > until_s:
                raise Taken(
                    f"another router runs as {self._router_id!r}; give each a ROUTER_ID of its own"
                )
            await asyncio.sleep(RECONNECT_S)
