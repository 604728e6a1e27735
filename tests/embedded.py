"""One throw-away PostgreSQL and Valkey for a test run, shared by all xdist workers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.local.postgres import Postgres
from deploy.local.valkey import Valkey
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


@contextlib.contextmanager
def data_services() -> Iterator[tuple[str, str]]:
    """Yield (DATABASE_URL, BROKER_URL), of the environment where it names them."""
    from deploy.local import postgres, valkey

    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waypost-test-")))
        # PostgreSQL runs as another user when the tests run as root.
        home.chmod(0o755)
        postgres_port, valkey_port = free_ports(2)
        database_url = os.environ.get("DATABASE_URL")
        if database_url is None:
            server = Postgres(home / "pg", postgres_port, password="test", durable=False)
            stack.enter_context(_running(server, postgres.STOP_SIGNAL, home / "pg.log"))
            database_url = server.url
        broker_url = os.environ.get("BROKER_URL")
        if broker_url is None:
            broker = Valkey(home / "valkey", valkey_port, durable=False)
            stack.enter_context(_running(broker, valkey.STOP_SIGNAL, home / "valkey.log"))
            broker_url = broker.url
        yield database_url, broker_url
