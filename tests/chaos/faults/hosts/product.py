"""The product on five hosts: its own commands with its own settings, a process each."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from deploy.local.processes import child
from deploy.local.services.postgres import Postgres
from deploy.local.services.valkey import Valkey
from router.metering.journal import TORN
from tests.backend import get
from tests.chaos.faults.hosts.network import NETWORK, Network
from tests.chaos.processes import Program
from tests.chaos.worker import produced
from tests.embedded import wait_until
from tests.local_stack import ROOT
from tests.patience import PATIENCE_S

WEB, LEFT, RIGHT, GPUS = "web", "left", "right", ("gpu-a", "gpu-b")
MODEL, POOL = "huggingfacetb/smollm2-135m-instruct", "llama-fast"
WEB_PORT, ROUTER_PORT, POSTGRES_PORT, VALKEY_PORT, WORKER_PORT = 8000, 8080, 5432, 6379, 9000
SLOTS = 16
SECRETS = {
    "DJANGO_SECRET_KEY": "of-no-value-outside-this-run",
    "WAYPOST_KEY_PEPPER": "of-no-value-outside-this-run",
    "ROUTER_ADMIN_TOKEN": "of-no-value-outside-this-run",
}


class Part(Program):
    """A process on a host, and how it is seen to serve."""

    def __init__(
        self, words: list[str], log: Path, env: dict[str, str], *, serves: Callable[[], bool]
    ) -> None:
        super().__init__([*child.prefix(signal.SIGKILL), *words], log, **env)
        self._serves = serves

    def open(self) -> None:
        """Start it and wait until it serves."""
        self.start()

        def serves() -> bool:
            assert self.runs, self.log()[-2000:]
            return self._serves()

        wait_until(serves, PATIENCE_S, self.log()[-2000:])

    def roll(self) -> None:
        """Stop it as an operator does, and start it again."""
        assert self.stop() == 0, self.log()[-2000:]
        self.open()


class Product:
    """PostgreSQL, pages and jobs on one host, two routers, and two hosts with an agent each."""

    def __init__(self, network: Network, home: Path) -> None:
        self.network = network
        self._home = home
        self.made = home / "produced.log"
        self._postgres = Postgres(home / "pg", POSTGRES_PORT, "test", "test", "test")
        self._valkey = Valkey(home / "valkey", VALKEY_PORT, password="test")
        self.database_url = self._reached(self._postgres.url)
        self._env = {
            **SECRETS,
            "DJANGO_SETTINGS_MODULE": "marketplace.config.settings",
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self._valkey.url,
            "WAYPOST_PUBLIC_URL": self.url(WEB, WEB_PORT),
            "WAYPOST_ROUTER_URL": self.url(LEFT, ROUTER_PORT),
            "WAYPOST_EMULATED": "0",
            "WAYPOST_BENCHMARKS_AUTO": "0",
            "ROUTER_UPSTREAM_NETWORKS": f"{NETWORK}.0/24",
        }
        self._data: list[Program] = []
        self.web = self._web()
        self.jobs = [
            self._celery("jobs", "worker", "--queues", "control"),
            self._celery("clock", "beat", "--pidfile", "", "--schedule", str(home / "beat")),
        ]
        self.routers = {name: self._router(name) for name in (LEFT, RIGHT)}
        self.agents: dict[str, Part] = {}

    def url(self, host: str, port: int) -> str:
        return f"http://{self.network.address(host)}:{port}"

    def open(self) -> None:
        """Start everything, in the order of what needs what."""
        self._open_data_services()
        owner_url = self._reached(self._postgres.owner_url)
        self.manage("migrate", "--no-input", "--verbosity", "0", MIGRATE_DATABASE_URL=owner_url)
        fleet = self._home / "fleet.json"
        fleet.write_text("[]")
        self.manage("seed_demo", "--fleet", str(fleet))
        self.web.open()
        for job in self.jobs:
            job.start()
        for router in self.routers.values():
            router.open()
        self.agents |= {gpu: self._agent(gpu) for gpu in GPUS}
        for agent in self.agents.values():
            agent.open()

    def close(self) -> None:
        """End what still runs."""
        parts = [*self.agents.values(), *self.routers.values(), *self.jobs, self.web]
        for part in (*parts, *self._data):
            if part.runs:
                part.end()

    @property
    def key(self) -> str:
        found: str = json.loads((self._home / WEB / "demo.json").read_text())["api_key"]
        return found

    def manage(self, *words: str, **env: str) -> str:
        """What a command of ``manage.py`` prints, on the host of the pages."""
        done = subprocess.run(
            self.network.on(WEB, [sys.executable, str(ROOT / "manage.py"), *words]),
            env={**os.environ, **self._env, "WAYPOST_HOME": str(self._home / WEB), **env},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ledger(self) -> dict[str, dict[str, Any]]:
        """All calls by id."""
        with self.books() as books:
            rows = books.execute(
                "SELECT request_id::text, outcome, charge_nano, completion_tokens FROM usage_event"
            ).fetchall()
        return {row["request_id"]: row for row in rows}

    @contextmanager
    def books(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        with psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row) as books:
            yield books

    def journal(self, router: str) -> list[str]:
        found = (self._home / router / "journal").rglob("*")
        return sorted(path.name for path in found if path.is_file() and path.suffix != TORN)

    def _reached(self, local_url: str) -> str:
        return local_url.replace("127.0.0.1", self.network.address(WEB))

    def _open_data_services(self) -> None:
        self._postgres.prepare()
        with (self._home / "pg" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
        self._valkey.prepare()
        options = ["-c", "listen_addresses=*", "-c", "fsync=off"]
        for name, argv in (("pg", [*self._postgres.argv, *options]), ("valkey", self._valkey.argv)):
            self._data.append(Program(self.network.on(WEB, argv), self._home / f"{name}.log"))
            self._data[-1].start()
        with self.network.inside(WEB):
            for service in (self._postgres, self._valkey):
                wait_until(service.is_ready, PATIENCE_S, f"{service} did not start")

    def _part(self, name: str, host: str, *words: str, serves: Callable[[], bool]) -> Part:
        env = {**self._env, "WAYPOST_HOME": str(self._home / host)}
        if host in (LEFT, RIGHT):
            env |= {"ROUTER_HOST": self.network.address(host), "ROUTER_ID": host}
            env |= {"DATABASE_URL": self._reached(self._postgres.routers_url)}
        command = self.network.on(host, [sys.executable, "-m", *words])
        return Part(command, self._home / f"{name}.log", env, serves=serves)

    def _web(self) -> Part:
        url = self.url(WEB, WEB_PORT)
        words = ["--interface", "asginl", "--host", "0.0.0.0", "--port", str(WEB_PORT)]
        words += ["--workers", "1", "marketplace.config.asgi:application"]
        return self._part(
            WEB, WEB, "granian", *words, serves=lambda: answers(f"{url}/api/v1/models")
        )

    def _celery(self, name: str, *words: str) -> Part:
        return self._part(
            name, WEB, "celery", "-A", "workers.celery_app", *words, serves=lambda: True
        )

    def _router(self, name: str) -> Part:
        url = self.url(name, ROUTER_PORT)
        return self._part(name, name, "router", serves=lambda: answers(f"{url}/readyz"))

    def _agent(self, host: str) -> Part:
        server = [sys.executable, "-m", "tests.chaos.worker", "{port}", str(self.made), "0.0.0.0"]
        words = ["--marketplace", self.url(WEB, WEB_PORT), "--insecure-http", "--name", host]
        words += ["--advertise", self.network.address(host), "--port", str(WORKER_PORT)]
        words += ["--state", str(self._home / host), "--slots", str(SLOTS), "--served-name", MODEL]
        words += ["--engine", "llama_cpp", "--command", shlex.join(server)]
        words += ["--token", self.manage("workers", "token", "--pool", POOL).strip()]
        return self._part(host, host, "workers.agent", *words, serves=lambda: self.is_routed(host))

    def is_routed(self, host: str) -> bool:
        """Whether a router would send to a host's worker: the owner of the model has its slots."""
        with self.books() as books:
            rows = books.execute(
                "SELECT worker_id FROM catalog_worker WHERE healthy AND NOT draining "
                "AND url LIKE %s",
                [f"%//{self.network.address(host)}:%"],
            ).fetchall()
        wanted = {row["worker_id"] for row in rows}
        return any(wanted & self._workers(name) for name in self.routers)

    def _workers(self, router: str) -> set[str]:
        token = {"authorization": f"Bearer {SECRETS['ROUTER_ADMIN_TOKEN']}"}
        url = f"{self.url(router, ROUTER_PORT)}/admin/state"
        state = get(url, headers=token, timeout=60).json()
        return {worker["id"] for worker in state["workers"] if worker["slots"]}

    @property
    def tokens_made(self) -> int:
        """By workers, for callers."""
        made = produced(self.made)
        made.pop("probe", None)
        return made.total()


def answers(url: str) -> bool:
    try:
        return get(url, timeout=10).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
