"""Adds up the routers' states over the catalog: routers, queues, pools, workers. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from marketplace.routing.topology.contracts import (
    EndpointState,
    EngineBatch,
    EngineExpected,
    WorkerState,
)
from marketplace.routing.topology.engines import batch_of, expected_of
from marketplace.routing.topology.polling import Heard, Rate, Reading


class Voice(StrEnum):
    """How a router answers."""

    ANSWERS = "answers"
    STALE = "stale"
    """It does not answer now; its last state still counts and is shown as old."""
    SILENT = "silent"
    """No state of it is known, or the last one is too old."""
    GONE = "gone"
    """Its membership has expired, so other routers have its slots. Its state does not count."""


class Condition(StrEnum):
    """The condition of a worker, the gravest first."""

    DOWN = "down"
    EJECTED = "ejected"
    DRAINING = "draining"
    UNSEEN = "unseen"
    """No router uses it: its pool has no live deployment, or no router answers."""
    RAMPING = "ramping"
    """Back in service: routers use a part of its slots until it has proven itself."""
    FULL = "full"
    BUSY = "busy"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class CatalogMember:
    """A further process of a gang, with the prober's last word on it."""

    rank: int
    healthy: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class CatalogWorker:
    """A worker's row. ``strays`` is its ratio to its pool if it is a named straggler.

    A gang of ``gang_size`` processes has ``members`` besides the worker itself.
    """

    pk: int
    worker_id: str
    slots: int
    healthy: bool
    draining: bool
    drain_reason: str = ""
    health_error: str = ""
    strays: float | None = None
    gang_size: int = 1
    members: tuple[CatalogMember, ...] = ()

    @property
    def members_up(self) -> int:
        """Of a gang; the worker itself counts as up unless it is the one that is down."""
        others = sum(member.healthy for member in self.members)
        is_itself_down = not self.healthy and others == self.gang_size - 1
        return others + (not is_itself_down)


@dataclass(frozen=True, slots=True)
class CatalogPool:
    """A pool's row with its workers, and the models that are live on it."""

    name: str
    hardware: str
    region: str
    emulated: bool
    workers: tuple[CatalogWorker, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A routed model: its policy in force ("" is the router's default) and what is on trial."""

    name: str
    emulated: bool
    policy: str = ""
    version: int = 0
    shared: bool = False
    canary_version: int = 0
    canary_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Catalog:
    """The catalog's half. ``snapshot_version`` is the newest published one."""

    pools: tuple[CatalogPool, ...]
    models: tuple[CatalogModel, ...]
    snapshot_version: int


@dataclass(frozen=True, slots=True)
class RouterRow:
    """A router; ``ended_hz`` and ``failed_hz`` are calls a second, None until known."""

    router_id: str
    url: str
    voice: Voice
    age_s: float
    error: str
    snapshot_version: int
    is_behind: bool
    draining: bool
    waiting: int
    in_flight: int
    slots: int
    unsettled: int
    ended_hz: float | None
    failed_hz: float | None


@dataclass(frozen=True, slots=True)
class Queue:
    """A model's queue over all routers. ``by_router`` has router, waiting calls and rate of ended
    calls (None until known), for each router that has either.
    """

    model: CatalogModel
    waiting: int
    by_router: tuple[tuple[str, int, float | None], ...]
    in_flight: int
    ended_hz: float | None
    failed_hz: float | None


@dataclass(frozen=True, slots=True)
class Expected:
    """The routers' estimate of a mean request on a worker, weighted by their samples."""

    model: str
    service_ms: float
    samples: int
    in_flight: int
    engine: EngineExpected | None = None


@dataclass(frozen=True, slots=True)
class WorkerBox:
    """A worker; ``in_use`` are the slots that routers may fill now, fewer than ``slots`` while it
    ramps. An ``engine`` has a batch instead of slots.
    """

    row: CatalogWorker
    condition: Condition
    in_flight: int
    in_use: int
    ejected_s: float
    ejected_by: tuple[str, ...]
    failures: int
    by_router: tuple[tuple[str, int], ...]
    expected: tuple[Expected, ...]
    engine: EngineBatch | None = None


@dataclass(frozen=True, slots=True)
class PoolBox:
    pool: CatalogPool
    workers: tuple[WorkerBox, ...]
    slots: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole topology. ``age_s`` is the age of the oldest state that counts."""

    routers: tuple[RouterRow, ...]
    queues: tuple[Queue, ...]
    pools: tuple[PoolBox, ...]
    flows: tuple[tuple[str, str, int], ...]
    """Model, pool and requests in flight, for each live pairing."""
    snapshot_version: int
    age_s: float
    taken_at: float

    @property
    def answering(self) -> int:
        return sum(row.voice is Voice.ANSWERS for row in self.routers)

    @property
    def is_known(self) -> bool:
        """Whether any router's state counts."""
        return any(row.voice in (Voice.ANSWERS, Voice.STALE) for row in self.routers)

    @property
    def is_stale(self) -> bool:
        return any(row.voice is Voice.STALE for row in self.routers)

    @property
    def waiting(self) -> int:
        return sum(row.waiting for row in self.routers)

    @property
    def in_flight(self) -> int:
        return sum(box.in_flight for box in self.pools)

    @property
    def slots(self) -> int:
        return sum(box.slots for box in self.pools)

    @property
    def ejected(self) -> int:
        return self._workers(Condition.EJECTED)

    @property
    def down(self) -> int:
        return self._workers(Condition.DOWN)

    @property
    def draining(self) -> int:
        return sum(worker.row.draining for box in self.pools for worker in box.workers)

    def _workers(self, condition: Condition) -> int:
        return sum(worker.condition is condition for box in self.pools for worker in box.workers)


def picture(reading: Reading, catalog: Catalog) -> Topology:
    """Add up the routers' states. Those of gone routers are left out."""
    heard = [router for router in reading.heard if _counts(router)]
    seen: dict[str, list[tuple[str, WorkerState]]] = defaultdict(list)
    for router in heard:
        for worker in router.state.workers if router.state is not None else ():
            seen[worker.id].append((router.member.router_id, worker))
    pools = tuple(_pool(pool, seen) for pool in catalog.pools)
    flowing: dict[tuple[str, str], int] = defaultdict(int)
    for box in pools:
        for model in box.pool.models:
            flowing[model, box.pool.name] += 0
        for expected in (expected for worker in box.workers for expected in worker.expected):
            flowing[expected.model, box.pool.name] += expected.in_flight
    running: dict[str, int] = defaultdict(int)
    for (model, _), count in flowing.items():
        running[model] += count
    return Topology(
        routers=tuple(_router(router, catalog.snapshot_version) for router in reading.heard),
        queues=tuple(_queue(model, heard, running[model.name]) for model in catalog.models),
        pools=pools,
        flows=tuple((model, pool, count) for (model, pool), count in flowing.items()),
        snapshot_version=catalog.snapshot_version,
        age_s=max((router.age_s for router in heard), default=0.0),
        taken_at=reading.taken_at,
    )


def _counts(router: Heard) -> bool:
    return router.state is not None and _voice(router) is not Voice.GONE


def _voice(router: Heard) -> Voice:
    if router.state is not None and not router.error:
        return Voice.ANSWERS
    if not router.member.beats:
        return Voice.GONE
    return Voice.STALE if router.state is not None else Voice.SILENT


def _router(router: Heard, snapshot_version: int) -> RouterRow:
    voice = _voice(router)
    state = router.state if voice is not Voice.GONE else None
    rates = router.rates.values() if router.rates is not None else None
    return RouterRow(
        router_id=router.member.router_id,
        url=router.member.url,
        voice=voice,
        age_s=router.age_s,
        error=router.error,
        snapshot_version=state.snapshot_version if state else 0,
        is_behind=state is not None and state.snapshot_version < snapshot_version,
        draining=bool(state and state.draining),
        waiting=state.waiting if state else 0,
        in_flight=sum(worker.in_flight for worker in state.workers) if state else 0,
        slots=sum(worker.slots for worker in state.workers) if state else 0,
        unsettled=state.unsettled if state else 0,
        ended_hz=None if rates is None else sum(rate.ended_hz for rate in rates),
        failed_hz=None if rates is None else sum(rate.failed_hz for rate in rates),
    )


def _queue(model: CatalogModel, heard: Sequence[Heard], in_flight: int) -> Queue:
    by_router: list[tuple[str, int, float | None]] = []
    rates: list[Rate] = []
    for router in heard:
        state = router.state.models.get(model.name) if router.state is not None else None
        rate = router.rates.get(model.name) if router.rates is not None else None
        if rate is not None:
            rates.append(rate)
        if state is not None and (state.waiting or (rate and rate.ended_hz)):
            hz = rate.ended_hz if rate else None
            by_router.append((router.member.router_id, state.waiting, hz))
    return Queue(
        model=model,
        waiting=sum(count for _, count, _ in by_router),
        by_router=tuple(by_router),
        in_flight=in_flight,
        ended_hz=sum(rate.ended_hz for rate in rates) if rates else None,
        failed_hz=sum(rate.failed_hz for rate in rates) if rates else None,
    )


def _pool(pool: CatalogPool, seen: Mapping[str, Sequence[tuple[str, WorkerState]]]) -> PoolBox:
    boxes = tuple(_worker(row, seen.get(row.worker_id, ())) for row in pool.workers)
    return PoolBox(
        pool=pool,
        workers=boxes,
        slots=sum(row.slots for row in pool.workers),
        in_flight=sum(box.in_flight for box in boxes),
    )


def _worker(row: CatalogWorker, seen: Sequence[tuple[str, WorkerState]]) -> WorkerBox:
    in_flight = sum(worker.in_flight for _, worker in seen)
    in_use = min(sum(worker.limit for _, worker in seen), row.slots)
    ejected = [(router, worker) for router, worker in seen if worker.ejected_s > 0]
    return WorkerBox(
        row=row,
        condition=_condition(row, seen, in_flight, in_use, is_ejected=bool(ejected)),
        in_flight=in_flight,
        in_use=in_use,
        ejected_s=max((worker.ejected_s for _, worker in ejected), default=0.0),
        ejected_by=tuple(router for router, _ in ejected),
        failures=max((worker.consecutive_failures for _, worker in seen), default=0),
        by_router=tuple((router, worker.in_flight) for router, worker in seen if worker.in_flight),
        expected=_expected(endpoint for _, worker in seen for endpoint in worker.endpoints),
        engine=batch_of([worker for _, worker in seen]),
    )


def _condition(
    row: CatalogWorker,
    seen: Sequence[tuple[str, WorkerState]],
    in_flight: int,
    in_use: int,
    *,
    is_ejected: bool,
) -> Condition:
    if not row.healthy:
        return Condition.DOWN
    if is_ejected:
        return Condition.EJECTED
    if row.draining:
        return Condition.DRAINING
    if not seen:
        return Condition.UNSEEN
    engine = batch_of([worker for _, worker in seen])
    if engine.ramping if engine else any(worker.limit < worker.slots for _, worker in seen):
        return Condition.RAMPING
    if not engine.has_room if engine else in_flight >= max(in_use, 1):
        return Condition.FULL
    return Condition.BUSY if in_flight else Condition.FREE


def _expected(endpoints: Iterable[EndpointState]) -> tuple[Expected, ...]:
    by_model: dict[str, list[EndpointState]] = defaultdict(list)
    for endpoint in endpoints:
        by_model[endpoint.model].append(endpoint)
    return tuple(_mean(model, of) for model, of in sorted(by_model.items()))


def _mean(model: str, endpoints: Sequence[EndpointState]) -> Expected:
    """The mean over routers. Those without samples know only the prior: used if none has any."""
    samples = sum(endpoint.samples for endpoint in endpoints)
    if samples:
        service_ms = sum(endpoint.service_ms * endpoint.samples for endpoint in endpoints) / samples
    else:
        service_ms = sum(endpoint.service_ms for endpoint in endpoints) / len(endpoints)
    in_flight = sum(endpoint.in_flight for endpoint in endpoints)
    return Expected(model, service_ms, samples, in_flight, expected_of(endpoints))
