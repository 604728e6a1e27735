"""A migrated PostgreSQL for measurements: that of ``DATABASE_URL``, else a throw-away one.

Durable as in production: a commit waits for the disk.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local.processes.ports import free_ports
from deploy.local.services import postgres
from deploy.local.services.postgres import Postgres
from tests.databases import PASSWORD

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 30.0
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "marketplace.config.settings",
    "DJANGO_SECRET_KEY": "of-no-value-outside-a-measurement",
    "WAYPOST_KEY_PEPPER": "of-no-value-outside-a-measurement",
}


@contextlib.contextmanager
def migrated_database() -> Iterator[str]:
    """Yield a ``DATABASE_URL`` that Django's settings see too."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with contextlib.ExitStack() as stack:
        if "DATABASE_URL" not in os.environ:
            os.environ["DATABASE_URL"] = stack.enter_context(_server())
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"],
            cwd=ROOT,
            check=True,
        )
        yield os.environ["DATABASE_URL"]


def cpu_s(pid: int) -> float:
    """CPU time of a process of this machine; on a busy machine it says more than the clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as folder:
        home = Path(folder)
        # PostgreSQL runs as another user when this runs as root.
        home.chmod(0o755)
        (port,) = free_ports(1)
        server = Postgres(home / "pg", port, "bench", "bench", PASSWORD)
        server.prepare()
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(server.argv, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not server.is_ready():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(f"PostgreSQL did not start:\n{(home / 'log').read_text()}")
                time.sleep(0.05)
            # One role for all: nobody but the measurement is there.
            yield server.owner_url
        finally:
            process.send_signal(postgres.STOP_SIGNAL)
            process.wait(READY_TIMEOUT_S)
