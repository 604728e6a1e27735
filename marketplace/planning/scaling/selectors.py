"""The load of each pool at this moment, and how many workers it should have for it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from marketplace.catalog.models import Deployment, DeploymentStatus, Pool
from marketplace.planning.scaling.desired import Bounds, Demand, desired_workers
from marketplace.routing.priors import priors_in_force
from marketplace.routing.topology.picture import PoolBox, Topology
from marketplace.routing.topology.selectors import topology_now
from marketplace.routing.trials.models import RouteTuning


@dataclass(frozen=True, slots=True)
class Scale:
    """A pool's workers: those that take calls, and those that it should have.

    ``desired`` is None where no router answers: nothing is known then, and nothing should change.
    ``models`` are live on it.
    """

    pool: str
    emulated: bool
    workers: int
    desired: int | None
    models: int


def scales_now() -> list[Scale]:
    """Of every pool with workers or live models."""
    return scales(
        topology_now(),
        bounds={
            pool.name: Bounds(pool.workers_min, pool.workers_max) for pool in Pool.objects.all()
        },
        slos=dict(RouteTuning.objects.values_list("model__name", "slo_ms")),
        priors=_priors(),
    )


def _priors() -> dict[str, float]:
    """The slowest benchmarked service time of each pool, in ms."""
    found: dict[str, float] = {}
    known = priors_in_force()
    live = Deployment.objects.filter(status=DeploymentStatus.LIVE).values_list("pk", "pool__name")
    for pk, pool in live:
        if prior := known.get(pk):
            found[pool] = max(found.get(pool, 0.0), prior.service_ms)
    return found


@dataclass(frozen=True, slots=True)
class _Calls:
    """What of a model's calls is a pool's: of those that end in a second, and that wait."""

    rate_hz: float
    waiting: float


def scales(
    now: Topology,
    *,
    bounds: Mapping[str, Bounds],
    slos: Mapping[str, float],
    priors: Mapping[str, float],
) -> list[Scale]:
    """Pure: a model's queue and rate are shared out over the pools that serve it."""
    service_ms = {
        box.pool.name: _learned_ms(box) or priors.get(box.pool.name, 0.0) for box in now.pools
    }
    calls = _shared_out(now, service_ms, slos)
    return [
        Scale(
            pool=box.pool.name,
            emulated=box.pool.emulated,
            workers=sum(_takes_calls(box)),
            desired=desired_workers(
                _demand(box, calls, service_ms[box.pool.name], slos), bounds[box.pool.name]
            )
            if now.is_known
            else None,
            models=len(box.pool.models),
        )
        for box in now.pools
        if box.pool.name in bounds
    ]


def _takes_calls(box: PoolBox) -> Iterable[bool]:
    return (worker.row.healthy and not worker.row.draining for worker in box.workers)


def _learned_ms(box: PoolBox) -> float:
    """What a mean call takes there, as routers know it; 0 before any."""
    known = [expected for worker in box.workers for expected in worker.expected]
    samples = sum(expected.samples for expected in known)
    if not samples:
        return 0.0
    return sum(expected.service_ms * expected.samples for expected in known) / samples


def _shared_out(
    now: Topology, service_ms: Mapping[str, float], slos: Mapping[str, float]
) -> dict[tuple[str, str], _Calls]:
    """By model and pool: as its slots are spread now, or evenly where none has any.

    A pool without slots beside others has of the calls that wait what those do not work off within
    the SLO.
    """
    slots = _slots_up(now)
    found: dict[tuple[str, str], _Calls] = {}
    for queue in now.queues:
        pools, slo_ms = slots.get(queue.model.name, {}), slos.get(queue.model.name, 0.0)
        total, rate_hz = sum(pools.values()), queue.ended_hz or 0.0
        worked_off = sum(_worked_off(n, service_ms[pool], slo_ms) for pool, n in pools.items())
        beyond = max(queue.waiting - worked_off, 0.0)
        for pool, count in pools.items():
            share = count / total if total else 1 / len(pools)
            waiting = queue.waiting * share
            if total and not count:
                waiting = beyond / list(pools.values()).count(0)
            found[queue.model.name, pool] = _Calls(rate_hz * share, waiting)
    return found


def _slots_up(now: Topology) -> dict[str, dict[str, int]]:
    """The slots of workers that take calls, by model and pool."""
    slots: dict[str, dict[str, int]] = defaultdict(dict)
    for box in now.pools:
        taking = zip(box.workers, _takes_calls(box), strict=True)
        up = sum(worker.row.slots for worker, takes in taking if takes)
        for model in box.pool.models:
            slots[model][box.pool.name] = up
    return slots


def _demand(
    box: PoolBox,
    calls: Mapping[tuple[str, str], _Calls],
    service_ms: float,
    slos: Mapping[str, float],
) -> Demand:
    name = box.pool.name
    models = [model for model in box.pool.models if (model, name) in calls]
    return Demand(
        rate_hz=sum(calls[model, name].rate_hz for model in models),
        waiting=sum(calls[model, name].waiting for model in models),
        in_flight=box.in_flight,
        service_ms=service_ms,
        slo_ms=min((slos[model] for model in models if slos.get(model)), default=0.0),
        slots=max((worker.row.slots for worker in box.workers), default=1),
    )


def _worked_off(slots: int, service_ms: float, slo_ms: float) -> float:
    """How many calls so many slots end within the SLO: one each where nothing is known."""
    return slots * max(slo_ms, service_ms) / service_ms if service_ms else float(slots)
