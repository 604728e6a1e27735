"""What is masked in calls: set for an organisation or a key, published, and told of a call."""

from __future__ import annotations

import pytest

from marketplace.accounts.models import ApiKey, Mask
from marketplace.accounts.services import api_key_create
from marketplace.keys.rotation import HOUR, api_key_rotate
from marketplace.routing.selectors import snapshot_build
from marketplace.usage.models import UsageEvent
from router.domain.catalog import Organisation
from router.domain.personal import Personal
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_the_pages_know_what_routers_can_find() -> None:
    assert {mask.value for mask in Mask} == {kind.value for kind in Personal}


def test_an_organisation_has_kinds_masked_in_all_its_calls(shop: Shop) -> None:
    client = signed_in(shop.owner)
    chosen = {"masks": ["email", "card", "nonsense"]}
    assert client.post("/organisation/masks", chosen).status_code == 302
    (published,) = snapshot_build().organisations
    assert published == Organisation(shop.organisation.pk, masks=("email", "card"))
    page = client.get("/organisation").content.decode()
    assert 'value="email" checked' in page
    assert 'value="iban" checked' not in page
    client.post("/organisation/masks", {})
    assert snapshot_build().organisations == ()


def test_a_key_has_some_of_its_own_and_its_successor_has_them_too(shop: Shop) -> None:
    client = signed_in(shop.owner)
    made = {"name": "k", "scopes": ["inference"], "masks": ["cpf"]}
    assert client.post("/keys/create", made).status_code == 302
    row = ApiKey.objects.get()
    assert 'value="cpf" checked' in client.get(f"/keys/{row.pk}").content.decode()
    api_key_rotate(api_key=row, overlap=HOUR)
    assert [key.masks for key in snapshot_build().keys] == [("cpf",), ("cpf",)]
    assert client.post(f"/keys/{row.pk}", {"name": "k", "masks": ["names"]}).status_code == 422


def test_the_api_sets_them_and_knows_no_others(shop: Shop) -> None:
    client = signed_in(shop.owner)
    row, _ = api_key_create(organisation=shop.organisation, name="k")
    url, as_json = f"/api/v1/keys/{row.pk}", "application/json"
    changed = client.patch(url, {"masks": ["email", "phone"]}, as_json)
    assert changed.json()["masks"] == ["email", "phone"]
    assert client.patch(url, {"masks": ["names"]}, as_json).status_code == 400
    assert client.patch(url, {"name": "other"}, as_json).json()["masks"] == ["email", "phone"]


def test_a_calls_page_says_what_was_masked(shop: Shop) -> None:
    made = record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        charge_nano=1,
        masked="card=1, email=2",
    )
    settle(made)
    assert UsageEvent.objects.get().masked == "card=1, email=2"
    page = signed_in(shop.owner).get(f"/usage/{made.request_id}").content.decode()
    assert "card=1, email=2" in page
