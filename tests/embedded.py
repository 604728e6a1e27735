"""One throw-away PostgreSQL and Valkey for a test run, shared by all xdist workers."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.local.services import postgres, valkey
from deploy.local.services.postgres import Postgres
from deploy.local.services.valkey import Valkey
from tests.ports import free_ports

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll until `condition()`; raise TimeoutError naming `what` when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {timeout_s} s")
        time.sleep(0.02)


@contextlib.contextmanager
def _running(service: Postgres | Valkey, stop_signal: int, log: Path) -> Iterator[None]:
    service.prepare()
    with log.open("wb") as output:
        process = subprocess.Popen(
            service.argv,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: service.is_ready() or process.poll() is not None,
            START_TIMEOUT_S,
            f"{type(service).__name__} did not become ready",
        )
        if process.poll() is not None:
            raise RuntimeError(f"{type(service).__name__} left at once:\n{log.read_text()[-2000:]}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(stop_signal)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class DataServices:
    """A PostgreSQL and a Valkey whose addresses are known before they run.

    Those that the environment names (DATABASE_URL, BROKER_URL) are used as they are.
    """

    def __init__(self) -> None:
        self._running = contextlib.ExitStack()
        home = tempfile.TemporaryDirectory(prefix="waypost-test-")
        self._home = Path(self._running.enter_context(home))
        # PostgreSQL runs as another user when the tests run as root.
        self._home.chmod(0o755)
        postgres_port, valkey_port = free_ports(2)
        self._postgres = Postgres(
            self._home / "pg",
            postgres_port,
            password="test",
            services_password="test",
            routers_password="test",
            durable=False,
        )
        self._valkey = Valkey(self._home / "valkey", valkey_port, password="test", durable=False)
        self._waiting: list[tuple[Postgres | Valkey, int]] = []
        # Of a role that may make databases: tests come to theirs as another (`tests.databases`).
        self.database_url = os.environ.get("DATABASE_URL", self._postgres.owner_url)
        if self.database_url == self._postgres.owner_url:
            self._waiting.append((self._postgres, postgres.STOP_SIGNAL))
        self.broker_url = os.environ.get("BROKER_URL", self._valkey.url)
        if self.broker_url == self._valkey.url:
            self._waiting.append((self._valkey, valkey.STOP_SIGNAL))

    def start(self) -> None:
        """Bring up what does not run yet (0.6 s)."""
        while self._waiting:
            service, stop_signal = self._waiting.pop()
            log = self._home / f"{type(service).__name__}.log"
            self._running.enter_context(_running(service, stop_signal, log))

    def close(self) -> None:
        self._running.close()
