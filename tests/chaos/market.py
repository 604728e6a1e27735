"""A market of processes that die and restart: a database, routers and workers; and its ledger."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg.rows import dict_row

from deploy.local.processes import child
from deploy.local.services.postgres import STOP_SIGNAL, Postgres
from router.contracts.snapshot import Snapshot, encode_snapshot
from router.domain.catalog import ApiKey, Budget, Deployment, Model, Policy, Pool
from router.domain.catalog import Worker as Listed
from router.domain.keys import digest_key
from router.domain.pricing import Price
from router.metering.journal import TORN
from tests.backend import get
from tests.chaos.harness import KEY
from tests.contract.router.conftest import GRANT_SQL, open_accounts
from tests.databases import named_parts
from tests.embedded import wait_until
from tests.local_stack import ROOT
from tests.patience import PATIENCE_S
from tests.ports import free_ports

STOP_S = 90.0
"""More than a router lets its streams run."""
PEPPER = "a-pepper-for-tests"
OWNED, SHARED = "m", "s"
"""A model that one router places, and a model that every router places."""
TOKEN_NANO = 1_000
COMMISSION_BPS = 1_000
SLOTS = 64
PLENTY_NANO = 10**12
BUDGET_NANO = 10**13
"""Of the organisation: no limit to anything, but it must have it right what was spent."""


_starter = ThreadPoolExecutor(1)
"""The kernel ends a process with the thread that started it, so none outlives the tests."""


class Program:
    """A process that is restarted with the same arguments, however it ended.

    The arguments begin with :func:`deploy.local.processes.child.prefix`.
    """

    def __init__(self, argv: list[str], log: Path, **env: str) -> None:
        self._argv = argv
        self._log = log
        self.env = {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        _starter.submit(self._start).result()

    def _start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._argv,
                env=self.env,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Kill it and what it has started: a server of pages, for one, has its own processes."""
        os.killpg(self.pid, signal.SIGKILL)
        self.kill()

    def stop(self) -> int:
        """Stop as an operator does; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_S)

    def log(self) -> str:
        return self._log.read_text()


class Database(Program):
    """PostgreSQL. Its sessions are processes too, and die or freeze with it.

    Only processes die here, never the machine, so nothing needs to reach the disk.
    """

    def __init__(self, home: Path) -> None:
        self._server = Postgres(
            home / "pg", free_ports(1)[0], "test", services_password="test", routers_password="test"
        )
        self._server.prepare()
        super().__init__([*self._server.argv, "-c", "fsync=off"], home / "pg.log")

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def owner_url(self) -> str:
        return self._server.owner_url

    def start(self) -> None:
        """Retry until the last session of a killed server has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            super().start()
            while self.runs and not self._server.is_ready():
                assert time.monotonic() < deadline, self.log()[-2000:]
                time.sleep(0.05)
            if self.runs:
                return
            assert time.monotonic() < deadline, self.log()[-2000:]

    def back(self) -> str:
        """Undo what the last test did to it; returns its URL."""
        if self.runs:
            self.thaw()
        else:
            self.start()
        return self.url

    def stop(self) -> int:
        """Stop at once and end its sessions: SIGTERM would wait for them."""
        os.kill(self.pid, STOP_SIGNAL)
        return super().stop()

    def freeze(self) -> None:
        """Stop answering without refusing connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        for session in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(session), number)


class Router(Program):
    """``python -m router`` with its own port and folder."""

    def __init__(self, name: str, home: Path, database_url: str, **settings: str) -> None:
        (self.port,) = free_ports(1)
        self.name = name
        self.home = home / name
        super().__init__(
            [*child.prefix(signal.SIGKILL), sys.executable, "-m", "router"],
            home / f"{name}.log",
            DATABASE_URL=database_url,
            WAYPOST_KEY_PEPPER=PEPPER,
            WAYPOST_HOME=str(self.home),
            ROUTER_ID=name,
            ROUTER_PORT=str(self.port),
            ROUTER_MEMBER_TTL_S="1.5",
            ROUTER_UPSTREAM_NETWORKS="127.0.0.0/8",
            **{f"ROUTER_{name.upper()}": value for name, value in settings.items()},
        )

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
        return False

    def wait(self) -> None:
        def ready() -> bool:
            assert self.runs, self.log()[-2000:]
            return self.is_ready()

        wait_until(ready, PATIENCE_S, f"router {self.name} did not become ready")

    def settle(self) -> None:
        """The command for one that will not come back."""
        words = [sys.executable, "-m", "router", "--settle"]
        subprocess.run(words, cwd=ROOT, env=self.env, check=True, timeout=PATIENCE_S)

    @property
    def journal(self) -> list[str]:
        """What waits in its journal's folder.

        A write that a kill cut in two is kept there for whoever wants to see it.
        """
        found = (self.home / "journal").rglob("*")
        return sorted(p.name for p in found if p.is_file() and p.suffix != TORN)


class Worker(Program):
    """A ``tests.chaos.worker``. ``produced`` holds what it produces."""

    def __init__(self, port: int, produced: Path, log: Path) -> None:
        self.port = port
        words = [sys.executable, "-m", "tests.chaos.worker", str(port), str(produced)]
        super().__init__([*child.prefix(signal.SIGKILL), *words], log)


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
def database_of_its_own(home: Path) -> Iterator[Database]:
    """A migrated database that a test may kill."""
    database = Database(home)
    database.start()
    try:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", "--skip-checks", "-v", "0"],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": database.url,
                "MIGRATE_DATABASE_URL": database.owner_url,
            },
            check=True,
            timeout=600,
        )
        yield database
    finally:
        database.kill()


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
