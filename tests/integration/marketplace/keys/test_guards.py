"""Guards: set for an organisation or a key, published, and told of a call."""

from __future__ import annotations

import pytest
from django.test import Client

from marketplace.accounts.models import ApiKey, Organisation
from marketplace.accounts.services import api_key_create
from marketplace.catalog.models import AIModel
from marketplace.keys.rotation import HOUR, api_key_rotate
from marketplace.routing.selectors import snapshot_build
from marketplace.usage.models import UsageEvent
from router.domain.catalog import Guard
from router.pipeline.guarding.judging import GUARDRAIL
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")
NAME = "author/judge"


@pytest.fixture
def owner(shop: Shop) -> Client:
    AIModel.objects.create(name=NAME, display_name="Judge", task="moderation")
    return signed_in(shop.owner)


def test_an_organisation_has_its_calls_judged(shop: Shop, owner: Client) -> None:
    page = owner.get("/organisation").content.decode()
    assert f'<option value="{NAME}">' in page
    assert '<option value="author/slug"' not in page
    assert 'name="guard_inputs" checked' in page
    chosen = {"guard_model": NAME, "guard_answers": "on"}
    assert owner.post("/organisation/guard", chosen).status_code == 302
    (published,) = snapshot_build().organisations
    assert published.guard == Guard(NAME, inputs=False, answers=True, passes=False)
    page = owner.get("/organisation").content.decode()
    assert f'<option value="{NAME}" selected>' in page
    assert 'name="guard_inputs" checked' not in page
    owner.post("/organisation/guard", {"guard_model": ""})
    assert snapshot_build().organisations == ()


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"guard_model": "author/slug", "guard_inputs": "on"}, "no moderation model author/slug"),
        ({"guard_model": NAME}, "Choose what it judges"),
    ],
)
def test_a_guard_is_a_moderation_model_that_judges_something(
    shop: Shop, owner: Client, chosen: dict[str, str], says: str
) -> None:
    answer = owner.post("/organisation/guard", {**chosen, "guard_passes": "on"})
    assert answer.status_code == 422
    assert says in answer.text
    assert 'name="guard_passes" checked' in answer.text
    assert Organisation.objects.get(pk=shop.organisation.pk).guard_model == ""
    made = owner.post("/keys/create", {"name": "k", "scopes": ["inference"], **chosen})
    assert made.status_code == 422
    assert says in made.content.decode()


def test_a_model_that_is_gone_can_still_be_seen_and_kept(shop: Shop, owner: Client) -> None:
    chosen = {"guard_model": NAME, "guard_inputs": "on"}
    owner.post("/organisation/guard", chosen)
    AIModel.objects.filter(name=NAME).delete()
    assert f'<option value="{NAME}" selected>' in owner.get("/organisation").content.decode()
    owner.post("/organisation/guard", {**chosen, "guard_passes": "on"})
    (published,) = snapshot_build().organisations
    assert published.guard == Guard(NAME, passes=True)


def test_a_key_has_one_of_its_own_and_its_successor_has_it_too(shop: Shop, owner: Client) -> None:
    made = {"name": "k", "scopes": ["inference"], "guard_model": NAME, "guard_inputs": "on"}
    assert owner.post("/keys/create", made).status_code == 302
    row = ApiKey.objects.get()
    assert f'<option value="{NAME}" selected>' in owner.get(f"/keys/{row.pk}").content.decode()
    api_key_rotate(api_key=row, overlap=HOUR)
    assert [key.guard for key in snapshot_build().keys] == [Guard(NAME), Guard(NAME)]
    assert owner.post(f"/keys/{row.pk}", {"name": "k"}).status_code == 302
    assert {key.guard for key in snapshot_build().keys} == {None, Guard(NAME)}


def test_the_api_sets_it_and_knows_no_other_models(shop: Shop, owner: Client) -> None:
    row, _ = api_key_create(organisation=shop.organisation, name="k")
    url, as_json = f"/api/v1/keys/{row.pk}", "application/json"
    changed = owner.patch(url, {"guard_model": NAME, "guard_answers": True}, as_json).json()
    assert (changed["guard_model"], changed["guard_inputs"]) == (NAME, True)
    assert (changed["guard_answers"], changed["guard_passes"]) == (True, False)
    assert owner.patch(url, {"guard_model": "author/slug"}, as_json).status_code == 400
    nothing = {"guard_inputs": False, "guard_answers": False}
    assert owner.patch(url, nothing, as_json).status_code == 400
    assert owner.patch(url, {"name": "other"}, as_json).json()["guard_model"] == NAME


def test_a_calls_page_says_what_was_judged_and_found(shop: Shop) -> None:
    made = record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        charge_nano=1,
        guarded="input=passed, output=flagged:hate",
        asked=GUARDRAIL,
        why="input of 0193",
    )
    settle(made)
    assert UsageEvent.objects.get().guarded == "input=passed, output=flagged:hate"
    page = signed_in(shop.owner).get(f"/usage/{made.request_id}").content.decode()
    assert "input=passed, output=flagged:hate" in page
    assert "Judged for a guardrail" in page
    assert "input of 0193" in page
    assert "How the model was chosen" not in page
