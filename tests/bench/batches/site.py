"""The stack that is measured: its addresses, its processes, a key, its calls that were charged."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from deploy.local.home import state
from tests.local_stack import ROOT

TICKS_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Key:
    """An API key of the demo's organisation."""

    id: int
    key: str


class Site:
    """A local stack by its state folder."""

    def __init__(self, home: Path) -> None:
        self._home = home

    @property
    def router_url(self) -> str:
        """Where clients call."""
        return self._state().environment["WAYPOST_ROUTER_URL"]

    @property
    def tritons(self) -> Sequence[str]:
        """Base URLs."""
        services = self._state().services
        return [
            f"http://{service.address}" for service in services if service.name.startswith("triton")
        ]

    def process(self, service: str) -> int | None:
        """The process of a service that is well; None while it is not."""
        for known in self._state().services:
            if known.name == service and known.process and known.condition in state.HEALTHY:
                return known.process.pid
        return None

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU of each service so far, with all processes of its session."""
        sessions = {
            item.process.pid: item.name
            for item in self._state().services
            if item.process is not None
        }
        used = dict.fromkeys(sessions.values(), 0.0)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # Behind the command's name: state, parent, group, session, …, user and system time.
                fields = stat.read_text().rpartition(")")[2].split()
                if (service := sessions.get(int(fields[3]))) is not None:
                    used[service] += (int(fields[11]) + int(fields[12])) / TICKS_HZ
        return used

    def key(self) -> Key:
        """A new one, whose calls nobody else makes."""
        words = ["keys", "create", "--org", "demo", "--name", "bench", "--json"]
        made = subprocess.run(
            [sys.executable, "manage.py", *words, "--home", str(self._home)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found = json.loads(made.stdout)
        return Key(found["id"], found["key"])

    def charged(self, key: Key) -> int:
        """Calls of the key that were charged and settled."""
        url = self._state().environment["DATABASE_URL"]
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM usage_event WHERE key_id = %s AND charge_nano > 0", [key.id]
            ).fetchone()
        return int(row[0]) if row else 0

    def _state(self) -> state.StackState:
        found = state.load(self._home)
        if found is None:
            raise RuntimeError(f"nothing runs in {self._home}")
        return found


def running_site(home: Path) -> Site | None:
    """The stack of a state folder, if it is well."""
    found = state.load(home)
    return Site(home) if found is not None and found.is_healthy else None
