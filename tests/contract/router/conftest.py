"""The same ledger twice: in memory, and in PostgreSQL with the real functions."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from router.adapters.memory import MemoryLedger
from router.adapters.postgres import PostgresLedger, open_pool

ROOT = Path(__file__).resolve().parents[3]
CREDIT_NANO = 1_000
TTL_S = 600


@dataclass
class Till:
    """A ledger under test, one customer's account in it, and what stands on that account."""

    ledger: MemoryLedger | PostgresLedger
    customer: int
    provider: int
    database_url: str = ""

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
    name = f"contract_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
        url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": url},
            check=True,
            timeout=120,
        )
        yield url
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "postgres"])
async def till(request: pytest.FixtureRequest) -> AsyncIterator[Till]:
    if request.param == "memory":
        ledger = MemoryLedger(clock=time.time, balances_nano={1: CREDIT_NANO, 2: 0})
        yield Till(ledger, customer=1, provider=2)
        return
    url = request.getfixturevalue("ledger_database")
    customer, provider = open_accounts(url)
    pool = open_pool(url)
    await pool.open()
    try:
        ledger = PostgresLedger(pool, router_id=f"r-{customer}", lease_ttl_s=TTL_S)
        yield Till(ledger, customer, provider, url)
    finally:
        await pool.close()


def open_accounts(url: str, credit_nano: int = CREDIT_NANO) -> tuple[int, int]:
    """A customer with credit, and a provider; the platform's own accounts exist once."""
    tag = uuid.uuid4().hex[:12]
    with psycopg.connect(url, autocommit=True) as connection:

        def one(sql: str, *values: object) -> int:
            row = connection.execute(sql, values).fetchone()  # type: ignore[arg-type]
            assert row is not None
            return row[0]

        for kind in ("grants", "commission"):
            connection.execute(
                "INSERT INTO billing_account (kind, currency, overdraft) VALUES (%s, 'USD', %s) "
                "ON CONFLICT DO NOTHING",
                [kind, kind == "grants"],
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
        one(
            "SELECT billing_transfer_post(%s, %s, %s, %s, 'grant')",
            grants,
            customer_account,
            credit_nano,
            f"grant:{tag}",
        )
    return customer_account, provider_account
