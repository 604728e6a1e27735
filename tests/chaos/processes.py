"""Processes that die and restart: databases, routers and workers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from deploy.local.processes import child
from deploy.local.services.postgres import STOP_SIGNAL, Postgres
from router.metering.journal import TORN
from tests.backend import get
from tests.embedded import wait_until
from tests.local_stack import ROOT
from tests.patience import PATIENCE_S
from tests.ports import free_ports

STOP_S = 90.0
"""More than a router lets its streams run."""
PEPPER = "a-pepper-for-tests"
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
