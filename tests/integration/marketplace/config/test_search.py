"""The search that every page has: what it finds, and for whom."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.models import User
from marketplace.accounts.services import api_key_create, organisation_create
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture(autouse=True)
def _without_the_site(settings: Any, tmp_path: Path) -> None:
    """Anybody may search the documentation."""
    settings.WHITENOISE_ROOT = tmp_path


def found(client: Client, text: str) -> dict[str, list[str]]:
    """The URLs by kind."""
    response = client.post("/search", {"q": text}, headers={"HX-Request": "true"})
    assert b"<html" not in response.content
    return {str(kind.label): [hit.url for hit in kind.hits] for kind in response.context["found"]}


def test_a_member_finds_pages_models_keys_and_calls(shop: Shop, owner: Client) -> None:
    row, key = api_key_create(
        organisation=shop.organisation, created_by=shop.owner, name="nightly scorer"
    )
    named, _ = api_key_create(organisation=shop.organisation, name="wp-blog")
    assert found(owner, "wp-blog")["Keys"] == [f"/keys?key={named.pk}#key-{named.pk}"]
    assert found(owner, "usage")["Pages"] == ["/usage"]
    assert found(owner, "author/sl")["Models"] == ["/models/author/slug"]
    here = [f"/keys?key={row.pk}#key-{row.pk}"]
    for text in ("scorer", key[-4:], key):
        assert found(owner, text)["Keys"] == here
    call_id = settled_call(shop)
    assert found(owner, call_id) == {"Calls": [f"/usage/{call_id}"]}
    assert found(owner, "x") == found(owner, "") == found(owner, str(uuid.uuid4())) == {}


def test_nobody_finds_what_is_anothers(shop: Shop, staff: Client) -> None:
    _row, key = api_key_create(
        organisation=shop.organisation, created_by=shop.owner, name="nightly scorer"
    )
    call_id = settled_call(shop)
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    for client in (Client(), signed_in(stranger)):
        for text in ("scorer", key, call_id):
            assert found(client, text) == {}
    assert found(Client(), "billing").get("Pages") is None
    assert found(staff, call_id) == {"Calls": [f"/support/calls/{call_id}"]}


def test_it_is_a_page_too() -> None:
    client = Client()
    assert b"<h1>Search</h1>" in client.get("/search").content
    page = client.post("/search", {"q": "author/slug"})
    assert b'href="/models/author/slug"' in page.content
    assert b'value="author/slug"' in page.content
