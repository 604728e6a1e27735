"""The landing page: a replay, figures and prices, one call to action; the catalog's old links."""

from typing import Any

import msgspec
import pytest
from django.core.cache import caches
from django.test import Client
from django.utils import timezone

from marketplace.storefront.landing.models import LandingReplay
from marketplace.storefront.landing.recorded import recorded_replay
from marketplace.storefront.landing.replay import Source
from marketplace.storefront.landing.tasks import FRESH_FOR, replay_for_landing
from marketplace.usage.services import deployment_rollups_compute, figures_compute
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.recorded import lived
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture(autouse=True)
def without_kept_figures() -> None:
    caches["process"].clear()


def test_a_stranger_sees_what_it_is_what_it_costs_and_one_way_to_begin(
    shop: Shop, settings: Any
) -> None:
    settings.WAYPOST_TRIAL_CREDIT_CENTS = 500
    page = Client().get("/")
    assert page.status_code == 200
    assert page.text.count('href="/signup/"') == 2  # the button, and the bar on every page
    assert "$5.00 of credit to try it" in page.text
    assert "/models/author/slug" in page.text
    assert "$0.02" in page.text
    assert "The first replay is under way" in page.text


def test_a_member_is_led_to_a_call_instead_of_to_signing_up(shop: Shop) -> None:
    client = signed_in(shop.owner)
    page = client.get("/")
    assert 'href="/start"' in page.text
    assert "/signup/" not in page.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/?q=llama&task=chat", "/models?q=llama&task=chat"),
        ("/?page=2", "/models?page=2"),
        ("/?sort=price&m=a%2Fb", "/models?sort=price&m=a%2Fb"),
    ],
)
def test_old_links_to_the_catalog_lead_there(shop: Shop, old: str, new: str) -> None:
    answer = Client().get(old)
    assert (answer.status_code, answer.headers["Location"]) == (301, new)


def test_a_link_with_something_else_in_it_stays(shop: Shop) -> None:
    assert Client().get("/?utm_source=mail").status_code == 200


def test_without_calls_a_trace_is_replayed_and_said_to_be_one(shop: Shop) -> None:
    assert replay_for_landing()
    page = Client().get("/")
    assert "A built-in trace" in page.text
    assert "simulated" in page.text
    assert f"{page.context['gain_percent']} % less latency" in page.text
    assert not replay_for_landing()


def test_the_replay_is_made_again_once_it_is_old(shop: Shop) -> None:
    replay_for_landing()
    LandingReplay.objects.update(made_at=timezone.now() - FRESH_FOR)
    assert replay_for_landing()
    assert LandingReplay.objects.count() == 1


def test_few_calls_are_not_replayed(shop: Shop) -> None:
    for _ in range(3):
        settled_call(shop)
    figures_compute()
    assert recorded_replay(timezone.now()) is None


def test_calls_enough_are_replayed_on_the_fleet_that_answered_them(shop: Shop) -> None:
    lived(shop, count=600, load=0.2)
    figures_compute()
    found = recorded_replay(timezone.now())
    assert found is not None
    assert (found.source, found.model, found.calls, found.machines) == (
        Source.RECORDED,
        "author/slug",
        600,
        6,
    )
    assert found.gain > 0.3
    LandingReplay.objects.create(replay=msgspec.to_builtins(found))
    page = Client().get("/").text
    assert "600 calls of author/slug here" in page
    assert "emulated" not in page


def test_the_figures_are_those_of_everybodys_calls(shop: Shop) -> None:
    settled_call(shop, total_ms=212.0)
    deployment_rollups_compute()
    measured = Client().get("/").context["figures"].measured
    assert measured.calls == 1
    assert measured.total_ms_p50 == pytest.approx(212.0, rel=0.05)
