"""The page and the API of the topology, and who may see them."""

from collections.abc import Callable

import pytest
from django.test import Client

from marketplace.routing.topology.selectors import topology_now
from tests.integration.marketplace.routing.topology.hearing import Routers, said
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


def test_the_page_shows_the_fleet_and_never_the_token(
    staff: Client, shop: Shop, hear: Callable[..., Routers], settings: object
) -> None:
    settings.ROUTER_ADMIN_TOKEN = "the-secret-of-routers"  # type: ignore[attr-defined]
    hear(left=said(in_flight=2, waiting=7))
    for path in ("/topology", "/topology/live"):
        text = staff.get(path).content.decode()
        assert "author/slug" in text
        assert "fast-0" in text
        assert "1 of 1 router answers" in text
        assert "the-secret-of-routers" not in text


def test_without_any_router_the_page_says_what_to_do(
    staff: Client, hear: Callable[..., Routers]
) -> None:
    hear()
    assert "No routers found." in staff.get("/topology").content.decode()
    hear(left="it answered 401")
    text = staff.get("/topology").content.decode()
    assert "No router answers." in text
    assert "it answered 401" in text


def test_stale_figures_are_shown_as_stale(staff: Client, hear: Callable[..., Routers]) -> None:
    routers = hear(left=said(in_flight=1))
    topology_now()
    routers.states["left"] = "no answer"
    routers.later(12.0)
    text = staff.get("/topology/live").content.decode()
    assert "data-is-stale" in text
    assert "12 s ago" in text


@pytest.mark.parametrize("path", ["/topology", "/topology/live", "/topology/workers/fast-0"])
def test_only_staff_look(shop: Shop, path: str) -> None:
    assert Client().get(path).status_code == 302
    member = signed_in(shop.owner)
    assert member.get(path).status_code == 403
    assert member.get("/api/v1/topology").status_code == 403


def test_the_api_tells_it_all(staff: Client, shop: Shop, hear: Callable[..., Routers]) -> None:
    hear(left=said(in_flight=1, waiting=2))
    received = staff.get("/api/v1/topology").json()
    assert received["is_known"] is True
    assert received["queues"][0] | {} == received["queues"][0]
    assert (received["queues"][0]["model"], received["queues"][0]["waiting"]) == ("author/slug", 2)
    worker = received["pools"][0]["workers"][0]
    assert (worker["worker_id"], worker["condition"], worker["in_flight"]) == ("fast-0", "busy", 1)
    assert received["overview"]["calls"] == 0
