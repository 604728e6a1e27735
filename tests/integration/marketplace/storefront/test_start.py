"""The page of the first call: a key that is shown once, code with it, and where the call went."""

from uuid import uuid4

import pytest
from django.test import Client

from marketplace.accounts.models import ApiKey, Role, User
from marketplace.accounts.services import member_set
from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Pool
from marketplace.catalog.services import offer_publish
from marketplace.storefront.start.pages import LOOKS_MAX
from marketplace.storefront.start.selectors import model_to_try
from router.domain.keys import KEY_PREFIX
from router.domain.outcome import Outcome
from router.domain.pricing import Price
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")
POLLS = 'hx-trigger="every 1s"'


def founder() -> Client:
    return signed_in(User.objects.create_user("ana@example.com", full_name="Ana"))


def test_a_founder_gets_a_key_that_is_shown_once_and_filled_in(
    shop: Shop,
) -> None:
    client = founder()
    assert client.get("/welcome").context["form"].initial["name"] == "Ana"
    page = client.post("/welcome", {"name": "Ana"}, follow=True)
    key = page.context["new_key"]
    assert page.redirect_chain == [("/start", 302)]
    assert key.startswith(KEY_PREFIX)
    # The key itself, curl, Python and JavaScript.
    assert page.text.count(key) == 4
    assert page.headers["Cache-Control"] == "no-store"
    assert ApiKey.objects.get(organisation__slug="ana").scopes == ["inference"]
    again = client.get("/start")
    assert again.context["last_key"].masked in again.text
    assert key not in again.text
    assert "$WAYPOST_API_KEY" in again.text


def test_another_key_is_made_by_a_click_by_those_who_may(shop: Shop) -> None:
    client = signed_in(shop.owner)
    assert client.post("/start/key", follow=True).context["new_key"].startswith(KEY_PREFIX)
    viewer = User.objects.create_user("viewer@example.com")
    member_set(organisation=shop.organisation, user=viewer, role=Role.VIEWER)
    assert signed_in(viewer).post("/start/key").status_code == 403
    page = signed_in(viewer).get("/start")
    assert "/start/key" not in page.text
    assert "data-send" not in page.text


def test_the_page_waits_for_the_first_call_and_says_where_it_went(shop: Shop) -> None:
    client = signed_in(shop.owner)
    waiting = client.get("/start/call?look=1")
    assert POLLS in waiting.text
    assert "?look=2" in waiting.text
    settled_call(shop, total_ms=212.0)
    seen = client.get("/start/call?look=2")
    assert "We saw your first call" in seen.text
    assert "212 ms" in seen.text
    assert "$0.00002" in seen.text
    assert f"/usage/{seen.context['seen'].event.request_id}" in seen.text
    assert POLLS not in seen.text
    settled_call(shop)
    assert "We saw your call" in client.get("/start").text


def test_a_call_that_the_page_sent_is_the_one_that_it_shows(shop: Shop) -> None:
    client = signed_in(shop.owner)
    settled_call(shop, total_ms=111.0)
    sent = str(uuid4())
    waiting = client.get("/start/call", {"look": "1", "sent": sent}).text
    assert "Waiting for the record of your call" in waiting
    assert f"?look=2&amp;sent={sent}" in waiting
    settled_call(shop, request_id=sent, total_ms=212.0)
    settled_call(shop, total_ms=333.0)
    seen = client.get("/start/call", {"look": "2", "sent": sent}).text
    assert "212 ms" in seen
    assert POLLS not in seen
    assert client.get("/start/call", {"sent": "none"}).status_code == 200


def test_after_a_call_that_failed_the_page_waits_for_the_next_one(shop: Shop) -> None:
    client = signed_in(shop.owner)
    settled_call(shop, outcome=Outcome.REJECTED, http_status=503, error="no_eligible_worker")
    failed = client.get("/start/call?look=1")
    assert "Not run" in failed.text
    assert "ended with the error no_eligible_worker" in failed.text
    assert POLLS in failed.text
    settled_call(shop)
    answered = client.get("/start/call?look=2")
    assert "We saw your first call" in answered.text
    assert POLLS not in answered.text


def test_a_page_that_is_left_open_stops_to_ask(shop: Shop) -> None:
    client = signed_in(shop.owner)
    for look in (str(LOOKS_MAX), "0", "", "x", "9" * 5000):
        assert POLLS not in client.get("/start/call", {"look": look}).text


def test_another_customers_call_is_not_shown(shop: Shop) -> None:
    settled_call(shop)
    client = founder()
    client.post("/welcome", {"name": "Ana"})
    assert "Waiting for your first call" in client.get("/start").text


def test_without_credit_the_page_says_so_and_where_to_get_it(shop: Shop) -> None:
    client = founder()
    page = client.post("/welcome", {"name": "Ana"}, follow=True)
    assert "There is no credit yet" in page.text
    assert "There is no credit yet" not in signed_in(shop.owner).get("/start").text


def offered(shop: Shop, name: str, *, prompt_nano: int, emulated: bool) -> None:
    model = AIModel.objects.create(name=name, display_name=name, task="chat", emulated=emulated)
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=shop.provider,
        pool=Pool.objects.create(name=name, hardware="H100", engine="x", emulated=emulated),
        upstream_model=name,
    )
    offer_publish(deployment=deployment, price=Price(id=0, prompt_nano_per_million=prompt_nano))


def test_one_begins_with_the_cheapest_model_that_is_real(shop: Shop) -> None:
    offered(shop, "a/dear", prompt_nano=900_000_000, emulated=False)
    offered(shop, "a/emulated", prompt_nano=1, emulated=True)
    found = model_to_try()
    assert found is not None
    assert found.model == shop.model


def test_with_no_real_one_that_runs_one_begins_with_an_emulated_one(shop: Shop) -> None:
    AIModel.objects.filter(pk=shop.model.pk).update(published=False)
    offered(shop, "a/emulated", prompt_nano=1, emulated=True)
    found = model_to_try()
    assert found is not None
    assert found.model.name == "a/emulated"


def test_without_any_model_the_page_still_opens(shop: Shop) -> None:
    AIModel.objects.update(published=False)
    assert "No chat model can be called here now" in signed_in(shop.owner).get("/start").text
