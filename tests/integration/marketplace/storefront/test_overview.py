"""A model's first tab: latency of the last day, the best providers, how to call it."""

from datetime import timedelta

import pytest
from django.test import Client

from marketplace.catalog.models import Deployment, Offer, Pool, Provider
from marketplace.storefront.browse.model_tabs import HOURS_MIN
from marketplace.usage.models import DeploymentRollup, Span
from marketplace.usage.services import deployment_rollups_compute
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")
PAGE = "/models/author/slug"


@pytest.fixture
def fast(shop: Shop) -> Deployment:
    """A second deployment, dearer than the shop's."""
    deployment = Deployment.objects.create(
        version=shop.deployment.version,
        provider=Provider.objects.create(slug="swift", name="Swift"),
        pool=Pool.objects.create(name="swift", hardware="H100", engine="x"),
        upstream_model="x",
    )
    Offer.objects.create(deployment=deployment, request_nano=10**12)
    return deployment


def test_the_fastest_and_the_cheapest_provider_are_named(shop: Shop, fast: Deployment) -> None:
    settled_call(shop, deployment_id=fast.pk, ttft_ms=5.0)
    settled_call(shop, ttft_ms=500.0)
    deployment_rollups_compute()
    page = Client().get(PAGE)
    assert page.context["fastest"].priced.deployment == fast
    assert page.context["cheapest"].priced.deployment == shop.deployment
    assert "Swift" in page.text


def test_nobody_is_fastest_without_calls(shop: Shop, fast: Deployment) -> None:
    page = Client().get(PAGE)
    assert page.context["fastest"] is None
    assert page.context["cheapest"].priced.deployment == shop.deployment


def test_latency_is_charted_from_its_first_hour_on_once_there_are_two(shop: Shop) -> None:
    settled_call(shop, total_ms=40.0)
    deployment_rollups_compute()
    assert not Client().get(PAGE).context["is_charted"]
    for row in DeploymentRollup.objects.filter(span=Span.HOUR):
        row.starts_at -= timedelta(hours=9)
        row.save(force_insert=True)
    context = Client().get(PAGE).context
    columns = context["columns"]
    assert context["is_charted"]
    assert len(columns["at"]) == 10 > HOURS_MIN
    assert [value is not None for value in columns["p50"]] == [True, *[False] * 8, True]
    assert "data-charts" in Client().get(PAGE).text


def test_code_to_call_it_has_the_routers_address(shop: Shop, settings: object) -> None:
    text = Client().get(PAGE).text
    assert f"curl {settings.WAYPOST_ROUTER_URL}/v1/chat/completions" in text  # type: ignore[attr-defined]
    assert f'base_url="{settings.WAYPOST_ROUTER_URL}/v1"' in text  # type: ignore[attr-defined]
