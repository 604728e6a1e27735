"""One recorded stretch of calls, read and replayed."""

from datetime import datetime, timedelta

import pytest

from marketplace.benchmarks.models import Profile
from marketplace.benchmarks.recorded_calls.fleet import Basis, fleet_read
from marketplace.benchmarks.recorded_calls.replay import (
    fleet_now,
    recording_read,
    replay,
)
from marketplace.catalog.models import Deployment
from router.domain.catalog import Policy
from tests.integration.marketplace.recorded import PRICE_NANO, SERVICE_MS, lived
from tests.integration.marketplace.shop import Shop, open_shop

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def opened(kept_database: None) -> tuple[Shop, datetime]:
    """A shop, and when its recorded stretch of 2,000 calls on three pools began."""
    shop = open_shop()
    return shop, lived(shop)[0]


@pytest.fixture
def shop(opened: tuple[Shop, datetime]) -> Shop:
    return opened[0]


@pytest.fixture
def since(opened: tuple[Shop, datetime]) -> datetime:
    return opened[1]


def test_a_slower_pool_is_worse_and_weights_by_deployment_apply(
    shop: Shop, since: datetime
) -> None:
    recording = recording_read(model=shop.model, since=since, until=since + HOUR, limit=10_000)
    arrivals = recording.arrivals
    machines = fleet_now(shop.model).machines
    fast = next(machine.deployment_id for machine in machines if machine.kind == "fast")
    assert {machine.deployment_id for machine in machines} == set(
        Deployment.objects.values_list("pk", flat=True)
    )
    now, shunned = replay(
        arrivals,
        machines,
        [Policy(1, 1, "m"), Policy(1, 2, "m", weights={fast: 0.1})],
        slo_ms=500,
        seed=1,
    )
    assert shunned.mean_ms > 1.1 * now.mean_ms


def test_too_many_calls_are_cut_in_blocks_that_stay_as_busy(shop: Shop, since: datetime) -> None:
    whole = recording_read(model=shop.model, since=since, until=since + HOUR, limit=10_000)
    end = since + timedelta(seconds=whole.arrivals[-1].at_s + 1)
    cut = recording_read(model=shop.model, since=since, until=end, limit=500)
    assert cut.is_cut
    assert not whole.is_cut
    assert (cut.total, len(cut.arrivals)) == (2_000, 500)
    times = [arrival.at_s for arrival in cut.arrivals]
    assert times == sorted(set(times))
    rate = 2_000 / whole.arrivals[-1].at_s
    assert 500 / times[-1] == pytest.approx(rate, rel=0.15)


def test_without_a_profile_the_live_mean_counts(shop: Shop, since: datetime) -> None:
    Profile.objects.filter(deployment__pool__name="middle").delete()
    parts = {part.pool: part for part in fleet_now(shop.model).parts}
    assert parts["middle"].basis is Basis.MEASURED
    assert parts["middle"].samples > 30
    assert parts["middle"].service_ms == pytest.approx(SERVICE_MS["middle"], rel=0.1)
    assert parts["middle"].price_nano == pytest.approx(PRICE_NANO["middle"], rel=0.1)
    recording = recording_read(model=shop.model, since=since, until=since + HOUR, limit=10_000)
    measured = fleet_read(shop.model, recording.work, recording.calls, first=Basis.MEASURED)
    assert {part.basis for part in measured.parts} == {Basis.MEASURED}
