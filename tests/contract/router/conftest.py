"""The same ledger twice: in memory, and in PostgreSQL with the real functions."""

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from router.adapters.memory import MemoryBank, MemoryBudget, MemoryLedger
from router.adapters.postgres.bank import PostgresBank
from router.adapters.postgres.ledger import PostgresLedger
from router.adapters.postgres.pool import Pool, open_pool
from router.domain.money import Purse
from router.ports.bank import LeaseBank, LeaseGrant
from tests.databases import as_routers, copied

CREDIT_NANO = 1_000
TTL_S = 600


@dataclass
class Till:
    """A ledger under test, one customer's account in it, and what stands on that account."""

    ledger: MemoryLedger | PostgresLedger
    customer: int
    provider: int
    database_url: str = ""
    pool: Pool | None = None

    @property
    def purse(self) -> Purse:
        """The customer's, without budgets."""
        return Purse(self.customer)

    def bank(self, router: str = "a", life: str = "1") -> MemoryBank | PostgresBank:
        """As one life of one router has it."""
        router_id = f"{router}-{self.customer}"
        if isinstance(self.ledger, MemoryLedger):
            return MemoryBank(self.ledger, router_id=router_id, life=life, lease_ttl_s=TTL_S)
        assert self.pool is not None
        return PostgresBank(
            self.pool, self.database_url, router_id=router_id, life=life, lease_ttl_s=TTL_S
        )

    async def lease(
        self,
        bank: LeaseBank,
        need_nano: int,
        want_nano: int,
        budgets: tuple[int, ...] = (),
    ) -> LeaseGrant:
        """One that must be given."""
        purse = Purse(self.customer, budgets)
        found = await bank.take(str(uuid.uuid4()), purse, need_nano, want_nano)
        assert isinstance(found, LeaseGrant), found
        return found

    async def budget(self, limit_nano: int) -> int:
        """A new one of the customer's organisation."""
        if isinstance(self.ledger, MemoryLedger):
            number = len(self.ledger.budgets) + 1
            self.ledger.budgets[number] = MemoryBudget(limit_nano)
            return number
        return await self._one(
            "WITH member AS (INSERT INTO accounts_user (email, password, full_name, is_active, "
            "is_staff, is_superuser, date_joined, language) "
            "VALUES (gen_random_uuid() || '@example.org', '!', '', true, false, false, now(), '') "
            "RETURNING id) "
            'INSERT INTO billing_budget (organisation_id, user_id, limit_nano, "window") '
            "SELECT organisation_id, member.id, %s, 'month' FROM billing_account, member "
            "WHERE billing_account.id = %s RETURNING id",
            limit_nano,
            self.customer,
        )

    async def budget_state(self, budget_id: int) -> tuple[int, int]:
        """Spent and held, in nano-USD."""
        if isinstance(self.ledger, MemoryLedger):
            budget = self.ledger.budgets[budget_id]
            return budget.spent_nano, budget.held_nano
        sql = "SELECT {} FROM billing_budget WHERE id = %s"
        return (
            await self._one(sql.format("spent_nano"), budget_id),
            await self._one(sql.format("held_nano"), budget_id),
        )

    async def last_month(self, budget_id: int) -> bool:
        """Have a budget's window end; False where windows never do (in memory)."""
        if isinstance(self.ledger, MemoryLedger):
            return False
        async with await psycopg.AsyncConnection.connect(self.database_url) as connection:
            await connection.execute(
                "SELECT intruder.tamper('UPDATE billing_budget SET window_starts_at = now() - "
                "interval ''40 days'' WHERE id = ' || %s)",
                [budget_id],
            )
        return True

    async def expense_nano(self) -> int:
        """What the platform has paid for this customer."""
        if isinstance(self.ledger, MemoryLedger):
            return self.ledger.expense_nano
        return await self._one(
            "SELECT coalesce(sum(amount_nano), 0)::bigint FROM billing_transfer "
            "WHERE kind = 'cover' AND credit_id = %s",
            self.customer,
        )

    async def _one(self, sql: str, *values: object) -> int:
        async with await psycopg.AsyncConnection.connect(
            self.database_url, autocommit=True
        ) as connection:
            row = await (await connection.execute(sql.encode(), values)).fetchone()
            assert row is not None
            return row[0]

    async def balance(self) -> tuple[int, int]:
        """Posted and held, in nano-USD."""
        if isinstance(self.ledger, MemoryLedger):
            return self.ledger.posted[self.customer], self.ledger.held.get(self.customer, 0)
        async with await psycopg.AsyncConnection.connect(self.database_url) as connection:
            cursor = await connection.execute(
                "SELECT posted_nano, held_nano FROM billing_account WHERE id = %s",
                [self.customer],
            )
            row = await cursor.fetchone()
            assert row is not None
            return row[0], row[1]


@pytest.fixture(scope="session")
def ledger_database(postgres_url: str) -> Iterator[str]:
    """URL of a fresh, migrated database."""
    with copied(postgres_url) as url:
        yield url


@pytest.fixture(params=["memory", "postgres"])
async def till(request: pytest.FixtureRequest) -> AsyncIterator[Till]:
    if request.param == "memory":
        ledger = MemoryLedger(clock=time.time, balances_nano={1: CREDIT_NANO, 2: 0})
        yield Till(ledger, customer=1, provider=2)
        return
    url = request.getfixturevalue("ledger_database")
    customer, provider = open_accounts(url)
    pool = open_pool(as_routers(url))
    await pool.open()
    try:
        yield Till(PostgresLedger(pool), customer, provider, url, pool)
    finally:
        await pool.close()


GRANT_SQL = (
    "INSERT INTO billing_systemorder (transfer_id, rule, reason) "
    "SELECT billing_transfer_post(%s, %s, %s, %s, 'grant'), 'system: a test', 'It needs credit.' "
    "RETURNING transfer_id"
)


def open_accounts(url: str, credit_nano: int = CREDIT_NANO) -> tuple[int, int]:
    """A customer with credit, and a provider; the platform's own accounts exist once."""
    tag = uuid.uuid4().hex[:12]
    with psycopg.connect(url, autocommit=True) as connection:

        def one(sql: str, *values: object) -> int:
            row = connection.execute(sql, values).fetchone()  # type: ignore[arg-type]
            assert row is not None
            return row[0]

        for kind in ("grants", "commission", "expense"):
            connection.execute(
                "INSERT INTO billing_account (kind, currency, overdraft) VALUES (%s, 'USD', %s) "
                "ON CONFLICT DO NOTHING",
                [kind, kind != "commission"],
            )
        grants = one("SELECT id FROM billing_account WHERE kind = 'grants'")
        organisation = one(
            "INSERT INTO accounts_organisation (slug, name, created_at) "
            "VALUES (%s, 'O', now()) RETURNING id",
            tag,
        )
        provider = one(
            "INSERT INTO catalog_provider (slug, name, description, website, commission_bps, "
            "emulated, created_at) VALUES (%s, 'P', '', '', 1000, false, now()) RETURNING id",
            tag,
        )
        customer_account = one(
            "INSERT INTO billing_account (kind, currency, organisation_id) "
            "VALUES ('customer', 'USD', %s) RETURNING id",
            organisation,
        )
        provider_account = one(
            "INSERT INTO billing_account (kind, currency, provider_id) "
            "VALUES ('provider', 'USD', %s) RETURNING id",
            provider,
        )
        one(GRANT_SQL, grants, customer_account, credit_nano, f"grant:{tag}")
    return customer_account, provider_account
