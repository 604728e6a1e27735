"""The search that every page has: what it finds, and for whom."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.models import User
from marketplace.accounts.services import api_key_create, organisation_create
from tests.integration.marketplace.config.test_pages import settled_call
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(kept_shop: Shop, settings: Any, tmp_path: Path) -> Shop:
    # Without the site of the documentation, which anybody may search.
    settings.WHITENOISE_ROOT = tmp_path
    return kept_shop


def found(client: Client, text: str) -> dict[str, list[str]]:
    """The URLs by kind."""
    response = client.post("/search", {"q": text}, headers={"HX-Request": "true"})
    assert b"<html" not in response.content
    return {str(kind.label): [hit.url for hit in kind.hits] for kind in response.context["found"]}


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_member_finds_pages_models_keys_and_calls(shop: Shop) -> None:
    row, key = api_key_create(
        organisation=shop.organisation, created_by=shop.owner, name="nightly scorer"
    )
    client = signed_in(shop.owner)
    assert found(client, "usage")["Pages"] == ["/usage"]
    assert found(client, "author/sl")["Models"] == ["/models/author/slug"]
    here = [f"/keys#key-{row.pk}"]
    for text in ("scorer", key[-4:], key):
        assert found(client, text)["Keys"] == here
    call_id = settled_call(shop)
    assert found(client, call_id) == {"Calls": [f"/usage/{call_id}"]}
    assert found(client, "x") == found(client, "") == found(client, str(uuid.uuid4())) == {}


def test_nobody_finds_what_is_anothers(shop: Shop) -> None:
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
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    assert found(signed_in(staff), call_id) == {"Calls": [f"/support/calls/{call_id}"]}


def test_it_is_a_page_too(shop: Shop) -> None:
    client = Client()
    assert b"<h1>Search</h1>" in client.get("/search").content
    page = client.post("/search", {"q": "author/slug"})
    assert b'href="/models/author/slug"' in page.content
    assert b'value="author/slug"' in page.content
