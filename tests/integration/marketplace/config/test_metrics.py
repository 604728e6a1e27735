"""What Prometheus may read of the ledger; alerts and documentation speak of what exists."""

import re
from typing import Any

import pytest
from django.test import Client

from marketplace.benchmarks.models import Profile
from marketplace.billing.services import ledger_reconcile
from marketplace.catalog.models import Deployment, DeploymentStatus, ModelVersion
from marketplace.routing.trials.models import Straggler
from tests.architecture import pages
from tests.architecture.observed import metrics_used
from tests.architecture.pages import REFERENCE
from tests.integration.marketplace.ledger import intrude, lease_take
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

TOKEN = "a token for tests"


@pytest.fixture(autouse=True)
def _token(settings: Any) -> None:
    settings.WAYPOST_METRICS_TOKEN = TOKEN


def scraped() -> dict[str, float]:
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    found = re.findall(r"^waypost_ledger_(\w+) (\S+)$", answer.content.decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_the_state_of_the_books_is_scraped(shop: Shop) -> None:
    assert set(scraped()) == {
        "open_leases",
        "open_leases_usd",
        "expired_leases",
        "expired_leases_usd",
    }
    lease_take(shop.customer_account.pk, 1, 2_000_000_000)
    lease_take(shop.customer_account.pk, 1, 500_000_000, router="lost")
    intrude("UPDATE billing_lease SET expires_at = now() - interval '1 h' WHERE router_id = 'lost'")
    ledger_reconcile()
    found = scraped()
    assert 0 <= found.pop("report_age_seconds") < 60
    assert found == {
        "gaps": 1,
        "open_leases": 2,
        "open_leases_usd": 2.5,
        "expired_leases": 1,
        "expired_leases_usd": 0.5,
    }


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}"])
def test_nobody_else_scrapes(header: str, settings: Any) -> None:
    for token in (TOKEN, ""):
        settings.WAYPOST_METRICS_TOKEN = token
        answer = Client().get("/metrics", headers={"authorization": header})
        assert answer.status_code == 401
        assert answer["www-authenticate"] == "Bearer"


def test_a_straggler_is_scraped(shop: Shop) -> None:
    Straggler.objects.create(
        worker=shop.worker, deployment=shop.deployment, evidence={"ratio": 4.0}
    )
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    text = answer.content.decode()
    assert 'waypost_tuning_straggler_ratio{pool="fast",worker="fast-0"} 4.0' in text


def test_each_live_deployment_has_its_profile_scraped_once(shop: Shop) -> None:
    model, on = shop.model, {"provider": shop.provider, "pool": shop.deployment.pool}
    versions = [ModelVersion.objects.create(model=model, version=name) for name in ("2", "3")]
    twin, gone = (
        Deployment.objects.create(version=version, upstream_model="slug", **on)
        for version in versions
    )
    Deployment.objects.filter(pk=gone.pk).update(status=DeploymentStatus.RETIRED)
    for row, service_ms in ((shop.deployment, 10.0), (twin, 20.0), (gone, 30.0)):
        Profile.objects.create(
            deployment=row, service_ms=service_ms, source="a test", published=True
        )
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    found = re.findall(
        r'^waypost_profile_service_ms\{deployment="(\d+)",.*\} (\S+)$',
        answer.content.decode(),
        re.MULTILINE,
    )
    assert found == [(str(shop.deployment.pk), "10.0"), (str(twin.pk), "20.0")]


def test_rules_dashboards_and_documentation_name_what_is_scraped(shop: Shop) -> None:
    """Those of routers are in tests/architecture/test_prometheus.py."""
    ledger_reconcile(whole=True)
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)", answer.content.decode(), re.MULTILINE))
    exposed = set(types)
    used = {name for name in metrics_used() if name.startswith("waypost_")}
    ours = {name for name in used if not name.startswith("waypost_router_")}
    assert ours
    assert ours <= exposed
    ours = [row for row in pages.rows(REFERENCE / "metrics.md") if len(row) == 2]
    assert {name for names, _ in ours for name in pages.code(names)} == exposed
    assert set(types.values()) == {"gauge"}


def test_the_workers_of_each_pool_are_scraped_and_nothing_is_wished_for_in_the_dark(
    shop: Shop,
) -> None:
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    found = answer.content.decode()
    assert 'waypost_pool_workers{emulated="false",pool="fast"} 1.0' in found
    assert 'waypost_pool_models{emulated="false",pool="fast"} 1.0' in found
    assert "waypost_pool_desired_workers{" not in found, "no router answers"
