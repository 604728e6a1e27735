"""A click that breaks something is asked about once more, with the calls that it would meet."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import api_key_create, member_set
from marketplace.providers.services import listing_create
from marketplace.shared.confirming import CONFIRMED
from marketplace.usage.partitions import id_floor
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def called(shop: Shop, minutes_ago: int, **values: Any) -> None:
    """A call of the shop's customer, that long ago."""
    at = timezone.now() - timedelta(minutes=minutes_ago)
    request_id = uuid.UUID(int=id_floor(at).int | uuid.uuid4().int >> 64)
    settle(
        record(
            request_id=str(request_id),
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=1_000,
            **values,
        )
    )


def test_revoking_a_key_says_how_many_calls_it_made_in_the_last_hour(
    shop: Shop, owner: Client
) -> None:
    key, _ = api_key_create(organisation=shop.organisation, name="production")
    for minutes_ago in (1, 30, 59, 61, 600):
        called(shop, minutes_ago, key_id=key.pk)
    called(shop, 1, key_id=key.pk + 1)
    asked = owner.post(f"/keys/{key.pk}/revoke")
    assert asked.status_code == 200
    assert "3 calls in the last hour" in asked.content.decode()
    key.refresh_from_db()
    assert key.status == "active"
    assert owner.post(f"/keys/{key.pk}/revoke", {CONFIRMED: "1"}).status_code == 302
    key.refresh_from_db()
    assert key.status == "revoked"


def test_a_member_is_removed_once_confirmed(shop: Shop, owner: Client) -> None:
    user = User.objects.create_user("second@example.com")
    membership = member_set(organisation=shop.organisation, user=user, role=Role.DEVELOPER)
    api_key_create(organisation=shop.organisation, name="theirs", created_by=user)
    called(shop, 1, user_id=user.pk)
    path = f"/organisation/members/{membership.pk}/remove"
    asked = owner.post(path).content.decode()
    assert "second@example.com" in asked
    assert "1 call in the last hour" in asked
    assert "1 key that they created stays" in asked
    assert user.memberships.exists()
    assert owner.post(path, {CONFIRMED: "1"}).status_code == 302
    assert not user.memberships.exists()


def test_a_listing_is_retired_once_confirmed_and_keeps_what_was_posted(
    shop: Shop, owner: Client
) -> None:
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    listing = listing_create(provider=shop.provider, created_by=shop.owner)
    path = f"/provide/listings/{listing.pk}/act"
    asked = owner.post(path, {"action": "retire"}).content.decode()
    assert '<input type="hidden" name="action" value="retire">' in asked
    assert "cannot be undone" in asked
    listing.refresh_from_db()
    assert listing.state == "draft"
    owner.post(path, {"action": "retire", CONFIRMED: "1"})
    listing.refresh_from_db()
    assert listing.state == "retired"


def test_other_steps_of_a_listing_ask_nothing(shop: Shop, owner: Client) -> None:
    """Only what takes something away is worth a second click."""
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    listing = listing_create(provider=shop.provider, created_by=shop.owner)
    assert (
        owner.post(f"/provide/listings/{listing.pk}/act", {"action": "submit"}).status_code == 302
    )
