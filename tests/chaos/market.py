"""A market of processes that die and restart: a database, routers and workers; and its ledger."""

import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import dict_row

from router.contracts.snapshot import Snapshot, encode_snapshot
from router.domain.catalog import ApiKey, Budget, Deployment, Model, Policy, Pool
from router.domain.catalog import Worker as Listed
from router.domain.keys import digest_key
from router.domain.pricing import Price
from tests.chaos.harness import KEY
from tests.chaos.processes import PEPPER, Router, Worker
from tests.contract.router.conftest import GRANT_SQL, open_accounts
from tests.databases import named_parts
from tests.ports import free_ports

OWNED, SHARED = "m", "s"
"""A model that one router places, and a model that every router places."""
TOKEN_NANO = 1_000
COMMISSION_BPS = 1_000
SLOTS = 64
PLENTY_NANO = 10**12
BUDGET_NANO = 10**13
"""Of the organisation: no limit to anything, but it must have it right what was spent."""


@dataclass
class Market:
    """A shop with one customer, who has a budget, and one provider, run by processes."""

    home: Path
    database_url: str
    customer: int
    provider: int
    budget: int
    routers: list[Router] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """What the workers produced."""
        return self.home / "produced.log"

    def hire(self, count: int) -> None:
        """Workers, each a process."""
        for number, port in enumerate(free_ports(count)):
            self.workers.append(Worker(port, self.log, self.home / f"worker-{number}.log"))
            self.workers[-1].start()

    def publish(
        self,
        price: Price | None = None,
        slots: int = SLOTS,
        keys: tuple[ApiKey, ...] = (),
        **policy: Any,
    ) -> None:
        """Publish both models on every worker, and ``keys`` of others, to the routers."""
        price = price or Price(1, completion_nano_per_million=TOKEN_NANO * 1_000_000)
        shop = Snapshot(
            version=1,
            published_at_ms=1,
            models=tuple(Model(name, "chat", "1", 1) for name in (OWNED, SHARED)),
            pools=(Pool("p", "cpu"),),
            workers=tuple(
                Listed(f"w{n}", "p", f"http://127.0.0.1:{worker.port}", "openai", slots)
                for n, worker in enumerate(self.workers)
            ),
            deployments=tuple(
                Deployment(
                    n, name, "lab", self.provider, "p", "up", price, commission_bps=COMMISSION_BPS
                )
                for n, name in enumerate((OWNED, SHARED), start=1)
            ),
            policies=(
                Policy(1, 1, SHARED, shared=True, **policy),
                Policy(2, 1, OWNED, **policy),
            ),
            budgets=(Budget(self.budget, 1),),
            keys=(ApiKey(1, digest_key(KEY, PEPPER.encode()), 1, self.customer), *keys),
        )
        with self.books() as books:
            books.execute(
                "INSERT INTO routing_snapshot (schema, body, digest) VALUES (%s, %s, 'x')",
                (shop.schema, encode_snapshot(shop).decode()),
            )

    def open(self, count: int, **settings: str) -> None:
        """Start routers that are ready and know each other."""
        names = [f"r{len(self.routers) + n}" for n in range(count)]
        new = [Router(name, self.home, self.database_url, **settings) for name in names]
        self.routers += new
        for router in new:
            router.start()
        for router in new:
            router.wait()

    @contextlib.contextmanager
    def books(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        with psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row) as books:
            yield books

    def balance(self) -> tuple[int, int]:
        """The customer's posted and held amounts."""
        with self.books() as books:
            row = books.execute(
                "SELECT posted_nano, held_nano FROM billing_account WHERE id = %s",
                [self.customer],
            ).fetchone()
        assert row is not None
        return row["posted_nano"], row["held_nano"]

    def grant(self, amount_nano: int) -> None:
        """More credit for the customer."""
        with self.books() as books:
            grants = books.execute(
                "SELECT id FROM billing_account WHERE kind = 'grants'"
            ).fetchone()
            assert grants is not None
            key = f"grant:{uuid.uuid4()}"
            books.execute(GRANT_SQL, [grants["id"], self.customer, amount_nano, key])

    def ledger(self) -> dict[str, dict[str, Any]]:
        """The customer's calls in the ledger, by id."""
        with self.books() as books:
            rows = books.execute(
                "SELECT request_id::text, outcome, charge_nano, completion_tokens, streamed, "
                "router_id, attempts FROM usage_event WHERE account_id = %s",
                [self.customer],
            ).fetchall()
        return {row["request_id"]: row for row in rows}

    def close(self) -> None:
        """Stop every router as an operator does; then the books must be closed.

        Nothing is held, nothing waits in a journal, nothing was refused, and the ledger balances.
        """
        for router in self.routers:
            assert router.stop() == 0, router.log()[-2000:]
        assert self.balance()[1] == 0, "credit is still held"
        charged = sum(row["charge_nano"] for row in self.ledger().values())
        with self.books() as books:
            row = books.execute(
                "SELECT spent_nano, held_nano FROM billing_budget WHERE id = %s", [self.budget]
            ).fetchone()
        assert row == {"spent_nano": charged, "held_nano": 0}, "the budget tells another story"
        assert [router.journal for router in self.routers] == [[]] * len(self.routers)
        verify_ledger(self.database_url)


def verify_ledger(url: str) -> None:
    """Have `manage.py ledger verify` prove the books, without two seconds for its process.

    Raises CommandError with how many gaps there are, which it prints.
    """
    from django.core.management import call_command
    from django.db import connection

    def verify() -> None:
        parts = urlsplit(url)
        where = {"HOST": parts.hostname, "PORT": parts.port}
        connection.settings_dict |= named_parts(url) | where
        try:
            call_command("ledger", "verify")
        finally:
            connection.close()
            connection.close_pool()

    # In a thread, as Django has a connection for each, and none where an event loop runs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(verify).result()


@contextlib.contextmanager
def market(home: Path, database_url: str, credit_nano: int = PLENTY_NANO) -> Iterator[Market]:
    """A market whose routers and workers end with the block."""
    customer, provider = open_accounts(database_url, credit_nano)
    with psycopg.connect(database_url, autocommit=True) as books:
        for table in ("routing_snapshot", "routing_slot_lease", "routing_router"):
            books.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
        row = books.execute(
            'INSERT INTO billing_budget (organisation_id, limit_nano, "window") '
            "SELECT organisation_id, %s, 'ever' FROM billing_account WHERE id = %s RETURNING id",
            [BUDGET_NANO, customer],
        ).fetchone()
    assert row is not None
    made = Market(home, database_url, customer, provider, row[0])
    try:
        yield made
    finally:
        for program in (*made.routers, *made.workers):
            if program.runs:
                program.kill()
