"""The pages of the catalog."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.test import Client

from marketplace.catalog.models import AIModel
from marketplace.usage.services import figures_compute
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_filters_and_sort_live_in_the_url(shop: Shop) -> None:
    AIModel.objects.create(name="b/vision", display_name="Seer", task="vision", emulated=True)
    client = Client()

    def shown(query: str) -> list[str]:
        return [row.model.name for row in client.get(f"/models?{query}").context["rows"]]

    assert shown("") == ["author/slug", "b/vision"]
    assert shown("task=vision") == ["b/vision"]
    assert shown("kind=real") == ["author/slug"]
    assert shown("q=seer") == ["b/vision"]
    assert shown("provider=northyard") == ["author/slug"]
    assert shown("hardware=CPU") == ["author/slug"]
    assert shown("hardware=TPU") == []
    assert shown("task=nonsense&kind=nonsense&sort=nonsense") == ["author/slug", "b/vision"]
    for order in ("price", "speed", "use"):
        assert sorted(shown(f"sort={order}")) == ["author/slug", "b/vision"]
    assert b"No models match" in client.get("/models?q=zzz").content


def test_htmx_gets_the_results_alone(shop: Shop) -> None:
    partial = Client().get("/models", headers={"HX-Request": "true"}).content
    assert b"author/slug" in partial
    assert b"<html" not in partial


def test_what_is_emulated_says_so(shop: Shop) -> None:
    AIModel.objects.create(name="emulated/x", display_name="X", task="chat", emulated=True)
    for path in ("/", "/models", "/models/emulated/x"):
        assert b'badge-signal"' in Client().get(path).content


def test_measured_figures_come_with_their_sample(shop: Shop) -> None:
    settled_call(shop)
    figures_compute()
    page = Client().get("/models/author/slug").content.decode()
    assert "Measured over 1 call" in page


def test_the_api_tab_names_the_router(shop: Shop) -> None:
    page = Client().get("/models/author/slug?tab=api").content.decode()
    assert f"{django_settings.WAYPOST_ROUTER_URL}/v1/chat/completions" in page
