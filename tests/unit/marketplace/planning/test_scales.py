"""How a model's queue and rate are shared out over its pools."""

from dataclasses import replace

from marketplace.planning.scaling.desired import Bounds
from marketplace.planning.scaling.selectors import Scale, scales
from marketplace.routing.topology.contracts import EndpointState, ModelState, RouterState
from marketplace.routing.topology.contracts import WorkerState as Told
from marketplace.routing.topology.picture import (
    Catalog,
    CatalogModel,
    CatalogPool,
    CatalogWorker,
    Topology,
    picture,
)
from marketplace.routing.topology.polling import Heard, Member, Rate, Reading

FAST = CatalogWorker(1, "fast-0", slots=4, healthy=True, draining=False)
SLOW = CatalogWorker(2, "slow-0", slots=1, healthy=True, draining=False)


def pool(name: str, *workers: CatalogWorker) -> CatalogPool:
    return CatalogPool(name, "CPU", "local", False, workers, ("m",))


def now(
    *pools: CatalogPool, waiting: int = 0, rate_hz: float = 0.0, error: str = "", beats: bool = True
) -> Topology:
    workers = tuple(
        Told(
            row.worker_id,
            row.slots,
            row.slots,
            0,
            0.0,
            0,
            (EndpointState("m", pool.name, service_ms=500.0, samples=9),),
        )
        for pool in pools
        for row in pool.workers
    )
    state = RouterState(1, waiting, 0, workers, models={"m": ModelState(waiting, 0, 0)})
    heard = Heard(Member("r", "http://r", beats), state, 0.0, error, {"m": Rate(rate_hz, 0.0)})
    return picture(Reading((heard,), 0.0), Catalog(pools, (CatalogModel("m", False),), 1))


def of(
    topology: Topology, least: int = 0, priors: dict[str, float] | None = None
) -> dict[str, Scale]:
    bounds = {name: Bounds(least, 20) for name in ("fast", "slow")}
    found = scales(topology, bounds=bounds, slos={"m": 2_000.0}, priors=priors or {})
    return {scale.pool: scale for scale in found}


def test_a_pool_at_rest_has_what_it_must_have() -> None:
    assert of(now(pool("fast", FAST)), least=2)["fast"] == Scale("fast", False, 1, 2, 1)


def test_a_load_is_shared_as_slots_are() -> None:
    both = of(now(pool("fast", FAST), pool("slow", SLOW), rate_hz=20.0))
    alone = of(now(pool("fast", FAST), rate_hz=16.0))
    assert both["fast"].desired == alone["fast"].desired
    assert (both["slow"].desired or 0) > 1


def test_a_worker_that_is_down_or_drains_takes_no_share() -> None:
    gone = replace(SLOW, healthy=False)
    both = of(now(pool("fast", FAST), pool("slow", gone), rate_hz=16.0))
    assert both["slow"] == Scale("slow", False, 0, 0, 1)


def test_a_call_that_waits_brings_an_empty_pool_back() -> None:
    empty = of(now(pool("fast"), waiting=1), priors={"fast": 500.0})
    assert empty["fast"] == Scale("fast", False, 0, 1, 1)


def test_an_empty_pool_beside_others_starts_once_those_do_not_keep_up() -> None:
    """Four slots end sixteen calls of half a second within the SLO of two."""
    for waiting, wanted in ((16, 0), (17, 1), (16 + 40, 10)):
        both = of(now(pool("fast", FAST), pool("slow"), waiting=waiting), priors={"slow": 500.0})
        assert both["slow"].desired == wanted, waiting
        assert both["fast"] == of(now(pool("fast", FAST), waiting=waiting))["fast"]


def test_a_pool_without_live_models_says_so() -> None:
    retired = replace(pool("fast", FAST), models=())
    assert of(now(retired), least=1)["fast"] == Scale("fast", False, 1, 1, 0)


def test_while_no_router_answers_nothing_should_change() -> None:
    silent = of(now(pool("fast", FAST), error="no answer", beats=False))
    assert silent["fast"].desired is None
