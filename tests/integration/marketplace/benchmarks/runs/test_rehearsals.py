"""The product rehearses the peaks that its models had."""

from datetime import timedelta

import pytest
from django.utils import timezone

from marketplace.benchmarks.models import Target
from marketplace.benchmarks.runs.rehearsals import rehearsals_request
from marketplace.usage.models import DeploymentRollup, Span
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


def called(shop: Shop, calls: int, hours_ago: int, deployment_id: int) -> None:
    at = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    empty = {
        field.name: [] if field.name.endswith("_cells") else 0
        for field in DeploymentRollup._meta.concrete_fields
        if field.name not in {"model", "deployment_id", "span", "starts_at"}
    }
    DeploymentRollup.objects.create(
        model=shop.model.name,
        deployment_id=deployment_id,
        span=Span.HOUR,
        starts_at=at,
        **{**empty, "calls": calls},
    )


def test_the_busiest_hour_of_the_week_is_rehearsed_once(shop: Shop) -> None:
    assert rehearsals_request() == [], "nothing was called"
    called(shop, 5_400, 3, shop.deployment.pk)
    called(shop, 1_800, 3, shop.deployment.pk + 1)
    called(shop, 3_600, 5, shop.deployment.pk)
    called(shop, 99_999, 24 * 8, shop.deployment.pk)
    (asked,) = rehearsals_request()
    assert (asked.target, asked.scenario, asked.trigger) == (Target.ROUTE, "server", "schedule")
    assert asked.plan.loads == (1.0, 2.0, 4.0)
    assert asked.reason == "rehearsal: the busiest hour of the week had 2 calls/s"
    assert rehearsals_request() == [], "one is open"


def test_a_model_that_is_hardly_called_is_not_rehearsed(shop: Shop) -> None:
    called(shop, 100, 3, shop.deployment.pk)
    assert rehearsals_request() == []
