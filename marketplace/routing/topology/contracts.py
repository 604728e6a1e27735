"""What of a router's ``GET /admin/state`` is read here. What it lacks is taken as nothing."""

from msgspec import Struct


class EndpointState(Struct, frozen=True):
    """A deployment on a worker: ``service_ms`` is what the router expects of a mean request."""

    model: str
    pool: str
    service_ms: float
    samples: int
    in_flight: int = 0


class WorkerState(Struct, frozen=True):
    """``slots`` are those that the router may use, ``limit`` those that it uses at present."""

    id: str
    slots: int
    limit: int
    in_flight: int
    ejected_s: float
    consecutive_failures: int
    endpoints: tuple[EndpointState, ...] = ()


class ModelState(Struct, frozen=True):
    """Calls that wait, and those that have ended and failed since the router's start."""

    waiting: int
    ended: int
    failed: int


class RouterState(Struct, frozen=True):
    """One router, now."""

    snapshot_version: int
    waiting: int
    unsettled: int
    workers: tuple[WorkerState, ...]
    router_id: str = ""
    draining: bool = False
    models: dict[str, ModelState] = {}
