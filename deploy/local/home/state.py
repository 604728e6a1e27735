"""What runs for one home folder: written by the launcher, read by `status` and `down`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from deploy.local.home.secrets import write_private
from deploy.local.processes.process import Process, boot_id


class Phase(StrEnum):
    """The phase of a stack."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


class Condition(StrEnum):
    """The condition of one service."""

    WAITING = "waiting"  # for what it needs
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"  # runs, but does not answer
    RESTARTING = "restarting"  # it crashed and is waited for
    DONE = "done"  # a job that ended well
    UNAVAILABLE = "unavailable"  # this machine can't run it; the stack goes on without
    STOPPED = "stopped"
    FAILED = "failed"


HEALTHY = frozenset({Condition.READY, Condition.DONE, Condition.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service as people see it. `since` is the Unix time of its present condition."""

    name: str
    condition: Condition = Condition.WAITING
    since: float = 0.0
    seconds_to_ready: float | None = None
    process: Process | None = None
    restarts: int = 0
    address: str = ""
    build: str = ""
    reason: str = ""

    def now(self, condition: Condition, **changes: Any) -> ServiceState:
        """Return this service in another condition, as of this moment."""
        return replace(self, condition=condition, since=time.time(), **changes)


@dataclass(frozen=True, slots=True)
class StackState:
    """A whole stack: its launcher, its services, and the environment its commands need.

    ``owner_url`` is for those commands that make or drop tables.
    """

    launcher: Process
    phase: Phase
    started_at: float
    services: tuple[ServiceState, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    owner_url: str = ""
    reason: str = ""
    boot: str = field(default_factory=boot_id)

    def is_live(self) -> bool:
        """Say whether the launcher that wrote this still runs."""
        return self.boot == boot_id() and self.launcher.is_alive()

    @property
    def is_healthy(self) -> bool:
        """Say whether everything that should run does, and answers."""
        return (
            self.phase is Phase.RUNNING
            and self.is_live()
            and all(service.condition in HEALTHY for service in self.services)
        )


def state_path(home: Path) -> Path:
    """Where the state of `home` is kept."""
    return home / "run" / "state.json"


def save(home: Path, state: StackState) -> None:
    """Replace the stored state in one step, for its owner's eyes: it holds the environment."""
    write_private(state_path(home), json.dumps(asdict(state), indent=2) + "\n")


def load(home: Path) -> StackState | None:
    """Read the state of `home`; None when nothing was ever started there.

    A power cut may leave a file that says nothing, and another release one with other fields.
    Whether a stack runs is then known by the lock alone.
    """
    try:
        return _read(json.loads(state_path(home).read_text()))
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _read(stored: dict[str, Any]) -> StackState:
    services = tuple(
        ServiceState(
            **{
                **service,
                "condition": Condition(service["condition"]),
                "process": Process(**service["process"]) if service["process"] else None,
            }
        )
        for service in stored["services"]
    )
    return StackState(
        **{
            **stored,
            "launcher": Process(**stored["launcher"]),
            "phase": Phase(stored["phase"]),
            "services": services,
        }
    )
