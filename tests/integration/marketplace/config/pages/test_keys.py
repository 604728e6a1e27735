"""The page of keys."""

from __future__ import annotations

import pytest
from django.test import Client

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def client_with_role(shop: Shop, role: Role) -> Client:
    user = User.objects.create_user(f"a-{role}@example.com")
    Membership.objects.create(organisation=shop.organisation, user=user, role=role)
    return signed_in(user)


@pytest.mark.parametrize(
    ("role", "status"),
    [(Role.OWNER, 302), (Role.DEVELOPER, 302), (Role.BILLING, 403), (Role.VIEWER, 403)],
)
def test_only_some_roles_change_keys(shop: Shop, role: Role, status: int) -> None:
    client = client_with_role(shop, role)
    assert client.post("/keys/create", {"name": "new"}).status_code == status
    assert shop.organisation.api_keys.count() == (1 if status == 302 else 0)


def test_a_key_is_shown_once_and_can_be_revoked(shop: Shop, member: Client) -> None:
    member.post("/keys/create", {"name": "mine"})
    assert b"wp_live_" in member.get("/keys").content.split(b"<table")[0]
    assert b"wp_live_" not in member.get("/keys").content.split(b"<table")[0]
    key = shop.organisation.api_keys.get()
    asked = member.post(f"/keys/{key.pk}/revoke").content.decode()
    assert "0 calls in the last hour" in asked
    assert "cannot be undone" in asked
    key.refresh_from_db()
    assert key.status == "active"
    member.post(f"/keys/{key.pk}/revoke", {"confirmed": "1"})
    key.refresh_from_db()
    assert key.status == "revoked"


def test_a_key_may_have_limits(shop: Shop, member: Client) -> None:
    refused = member.post("/keys/create", {"name": "mine", "calls_at_once": "0"})
    assert refused.status_code == 422
    assert b"<details open>" in refused.content
    member.post("/keys/create", {"name": "mine", "requests_per_minute": "60"})
    key = shop.organisation.api_keys.get()
    assert (key.requests_per_minute, key.tokens_per_minute) == (60, None)
    assert b"60 requests/min" in member.get("/keys").content


def test_a_key_of_another_organisation_cannot_be_revoked(shop: Shop) -> None:
    member = client_with_role(shop, Role.OWNER)
    member.post("/keys/create", {"name": "theirs"})
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    key = shop.organisation.api_keys.get()
    assert client.post(f"/keys/{key.pk}/revoke").status_code == 404


def test_a_nameless_key_is_refused_with_a_word(member: Client) -> None:
    response = member.post("/keys/create", {"name": ""})
    assert response.status_code == 422
    assert b'role="alert"' in response.content
