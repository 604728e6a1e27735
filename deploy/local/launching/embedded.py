"""The embedded PostgreSQL alone, for work on a stack that is stopped."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local.home import secrets
from deploy.local.launching import launch
from deploy.local.launching.launch import LaunchError
from deploy.local.processes.ports import free_ports
from deploy.local.services import postgres
from deploy.local.services.postgres import Postgres

START_S_MAX = 60.0
STOP_S_MAX = 60.0


@contextlib.contextmanager
def database_alone(home: Path) -> Iterator[Postgres]:
    """Run the database of a state folder, which no stack may use. Raises LaunchError."""
    with launch.claim(home):
        launch.end_leftovers(home)
        known = secrets.load_or_make(home, os.environ)
        (port,) = free_ports(1)
        server = Postgres(
            home / "pg",
            port,
            known[secrets.DATABASE_PASSWORD],
            known[secrets.SERVICES_PASSWORD],
            known[secrets.ROUTERS_PASSWORD],
        )
        server.prepare()
        (home / "logs").mkdir(exist_ok=True)
        with (home / "logs" / "postgres.log").open("ab") as log:
            process = subprocess.Popen(server.argv, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_S_MAX
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise LaunchError(f"PostgreSQL did not start: see {log.name}")
                time.sleep(0.1)
            yield server
        finally:
            process.send_signal(postgres.STOP_SIGNAL)
            process.wait(STOP_S_MAX)
