"""What agents say, checked: the values of registration and heartbeats."""

from dataclasses import dataclass, field
from typing import Any

WORKERS_MAX = 8
"""Inference servers that one agent reports at most."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """A host that wants to join a pool."""

    name: str
    hardware: list[dict[str, Any]]
    fingerprint: str
    version: str


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """An inference server as its agent sees it now; ``error`` says why it is ``down``.

    One of a ``gang`` (its worker's id) has a ``rank``; only rank 0 has an address.
    """

    name: str
    state: str
    url: str
    protocol: str
    slots: int
    engine: str
    engine_version: str = ""
    served_model: str = ""
    model_version: str = ""
    error: str = ""
    gang: str = ""
    gang_size: int = 1
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """All of an agent's servers. Those that it no longer names are gone."""

    hardware: list[dict[str, Any]]
    fingerprint: str
    version: str
    workers: list[WorkerReport] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WorkerWord:
    """What the marketplace tells an agent of a worker.

    ``routable`` says that routers may send it calls. ``in_flight`` are the calls that routers have
    there while it drains, None while that is not known for sure. ``fault`` is why the prober does
    not find it healthy, as "1 of 2 members are up; rank 1: it is missing".
    """

    name: str
    worker_id: str
    routable: bool
    in_flight: int | None
    fault: str
