"""The load of each pool at this moment, and how many workers it should have for it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from marketplace.catalog.models import Deployment, DeploymentStatus, Pool
from marketplace.planning.scaling.desired import Bounds, Demand, desired_workers
from marketplace.routing.priors import priors_in_force
from marketplace.routing.topology.picture import PoolBox, Queue, Topology
from marketplace.routing.topology.selectors import topology_now
from marketplace.routing.trials.models import RouteTuning


@dataclass(frozen=True, slots=True)
class Scale:
    """A pool's workers: those that take calls, and those that it should have.

    ``desired`` is None where no router answers: nothing is known then, and nothing should change.
    """

    pool: str
    emulated: bool
    workers: int
    desired: int | None


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


def scales(
    now: Topology,
    *,
    bounds: Mapping[str, Bounds],
    slos: Mapping[str, float],
    priors: Mapping[str, float],
) -> list[Scale]:
    """Pure: a model's queue and rate are shared out over the pools that serve it."""
    shares = _shares(now)
    queues = {queue.model.name: queue for queue in now.queues}
    return [
        Scale(
            pool=box.pool.name,
            emulated=box.pool.emulated,
            workers=sum(_takes_calls(box)),
            desired=desired_workers(
                _demand(box, queues, shares, slos, priors), bounds[box.pool.name]
            )
            if now.is_known
            else None,
        )
        for box in now.pools
        if box.pool.name in bounds
    ]


def _takes_calls(box: PoolBox) -> Iterable[bool]:
    return (worker.row.healthy and not worker.row.draining for worker in box.workers)


def _shares(now: Topology) -> dict[tuple[str, str], float]:
    """By model and pool: as its slots are spread now, or evenly where none has any."""
    slots: dict[str, dict[str, int]] = defaultdict(dict)
    for box in now.pools:
        taking = zip(box.workers, _takes_calls(box), strict=True)
        up = sum(worker.row.slots for worker, takes in taking if takes)
        for model in box.pool.models:
            slots[model][box.pool.name] = up
    return {
        (model, pool): count / total if (total := sum(pools.values())) else 1 / len(pools)
        for model, pools in slots.items()
        for pool, count in pools.items()
    }


def _demand(
    box: PoolBox,
    queues: Mapping[str, Queue],
    shares: Mapping[tuple[str, str], float],
    slos: Mapping[str, float],
    priors: Mapping[str, float],
) -> Demand:
    models = [name for name in box.pool.models if name in queues]
    share = {name: shares[name, box.pool.name] for name in models}
    known = [expected for worker in box.workers for expected in worker.expected]
    samples = sum(expected.samples for expected in known)
    learned_ms = (
        sum(expected.service_ms * expected.samples for expected in known) / samples
        if samples
        else 0.0
    )
    return Demand(
        rate_hz=sum((queues[name].ended_hz or 0.0) * share[name] for name in models),
        waiting=sum(queues[name].waiting * share[name] for name in models),
        in_flight=box.in_flight,
        service_ms=learned_ms or priors.get(box.pool.name, 0.0),
        slo_ms=min((slos[name] for name in models if slos.get(name)), default=0.0),
        slots=max((worker.row.slots for worker in box.workers), default=1),
    )
