"""Recorded arrivals, fleets out of the catalog, and a replayed past that comes out as it was."""

from datetime import timedelta

import pytest

from marketplace.benchmarks.models import Profile
from marketplace.benchmarks.recorded_calls.fleet import Basis, FleetUnknown, fleet_read
from marketplace.benchmarks.recorded_calls.replay import (
    fleet_now,
    recording_read,
    replay,
)
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.usage.models import UsageEvent
from router.domain.catalog import Policy
from router.simulator.slots.compare import figures_of
from router.simulator.slots.scenarios import Scenario
from tests.bench.generate.history import Size, history_generate
from tests.integration.marketplace.recorded import (
    HOURLY_NANO,
    SERVICE_MS,
    fleet_open,
    lived,
    machines_of,
    stretch,
)
from tests.integration.marketplace.shop import Shop

HOUR = timedelta(hours=1)
BOUND = 0.05
"""How far a replayed mean may be from the one that was recorded."""
BOUND_P99 = 0.15


@pytest.mark.nightly  # Fewer calls say less: a queue is chaotic.
def test_a_simulated_past_replayed_comes_out_as_it_was(shop: Shop) -> None:
    since, results = lived(shop, count=10_000)
    recording = recording_read(model=shop.model, since=since, until=since + HOUR, limit=10_000)
    arrivals = recording.arrivals
    assert len(arrivals) == 10_000
    (figures,) = replay(
        arrivals,
        fleet_now(shop.model).machines,
        [Policy(1, 1, shop.model.name)],
        slo_ms=500,
        seed=3,
    )
    real = figures_of("then", results, Scenario("then", "", (), (), 500))
    assert figures.mean_ms == pytest.approx(real.mean_ms, rel=BOUND)
    assert figures.p99_ms == pytest.approx(real.p99_ms, rel=BOUND_P99)
    assert figures.good == pytest.approx(real.good, abs=0.02)


def test_a_fleet_is_what_the_catalog_says(shop: Shop) -> None:
    fleet_open(shop)
    Worker.objects.filter(worker_id="slow-1").update(draining=True)
    pool = Pool.objects.get(name="fast")
    Worker.objects.create(worker_id="tensor", pool=pool, url="http://127.0.0.1:9", protocol="oip")
    fleet = fleet_now(shop.model)
    assert {part.pool: part.service_ms for part in fleet.parts} == SERVICE_MS
    assert [len(part.workers) for part in fleet.parts] == [2, 2, 1]
    assert all(part.basis is Basis.PROFILE for part in fleet.parts)
    hourly = 2 * HOURLY_NANO["fast"] + 2 * HOURLY_NANO["middle"] + HOURLY_NANO["slow"]
    assert fleet.cost_nano_per_hour == hourly


def test_two_deployments_on_one_pool_share_its_slots(shop: Shop) -> None:
    deployments = fleet_open(shop)
    other = deployments["fast"]
    version = other.version.model.versions.create(version="2")
    twin = Deployment.objects.create(
        version=version, provider=other.provider, pool=other.pool, upstream_model="slug"
    )
    Profile.objects.create(deployment=twin, service_ms=60, source="the test", published=True)
    machines = [machine for machine in fleet_now(shop.model).machines if machine.kind == "fast"]
    assert len({machine.name for machine in machines}) == 4
    assert sum(machine.slots for machine in machines) == 4


def test_nothing_known_is_said(shop: Shop) -> None:
    with pytest.raises(FleetUnknown, match="author/slug"):
        fleet_now(shop.model)
    since = stretch()
    recording = recording_read(model=shop.model, since=since, until=since + HOUR, limit=9)
    assert recording.arrivals == ()
    with pytest.raises(ValueError, match="nothing to replay"):
        replay([], machines_of({}), [], slo_ms=1, seed=1)
    with pytest.raises(ValueError, match="end after it begins"):
        recording_read(model=shop.model, since=since, until=since, limit=9)


def test_a_generated_history_can_be_replayed(by_owner: None, db: None) -> None:
    history_generate(
        size=Size(rows=4_000, models=4, providers=2, days=1), progress=lambda _made: None
    )
    from marketplace.catalog.models import AIModel

    busiest = UsageEvent.objects.order_by().values_list("model", flat=True)[:1].get()
    model = AIModel.objects.get(name=busiest)
    at = UsageEvent.objects.filter(model=busiest).latest("created_at").created_at
    day = timedelta(days=1)
    recording = recording_read(model=model, since=at - day, until=at + HOUR, limit=1_000)
    fleet = fleet_read(model, recording.work, recording.calls, first=Basis.MEASURED)
    (figures,) = replay(
        recording.arrivals, fleet.machines, [Policy(1, 1, "m")], slo_ms=5_000, seed=1
    )
    assert figures.answered > 100
    assert fleet.is_emulated
