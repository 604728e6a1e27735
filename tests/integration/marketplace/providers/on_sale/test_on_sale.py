"""What is on sale: its price, its traffic, and why calls went elsewhere."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.catalog.selectors import offer_in_force
from marketplace.providers.on_sale.lost_calls import Reason, lost_of
from marketplace.providers.on_sale.prices import (
    meaning_of,
    price_set,
    price_versions,
    price_withdraw,
)
from marketplace.providers.on_sale.token_counts import BELIEVED
from marketplace.providers.on_sale.traffic import traffic_of
from marketplace.routing.topology import polling
from marketplace.routing.topology.contracts import CountedState, RouterState
from marketplace.usage.windows import window_of
from router.contracts.record import CandidateRecord, Candidates
from router.domain.pricing import Price
from router.pipeline.holds.counting import TOLERANCE
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.routing.topology.hearing import Routers
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

DEAR = Price(id=0, prompt_nano_per_million=40_000_000)


@pytest.fixture
def sold(shop: Shop) -> Deployment:
    """The shop's deployment, provided by its own organisation, and a rival deployment."""
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    return shop.deployment


@pytest.fixture
def rival(shop: Shop) -> Deployment:
    pool = Pool.objects.create(name="slow", hardware="CPU", engine="llama.cpp")
    Worker.objects.create(worker_id="slow-0", pool=pool, url="http://x", protocol="openai")
    return Deployment.objects.create(
        version=shop.deployment.version,
        provider=shop.provider,
        pool=pool,
        upstream_model="slug",
    )


def settled(shop: Shop, served: Deployment, *candidates: CandidateRecord, **values: Any) -> None:
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            deployment_id=served.pk,
            model=shop.model.name,
            candidates=Candidates(lambda: candidates),
            **values,
        )
    )


def candidate(deployment: Deployment, verdict: str, wait_ms: float = 0.0) -> CandidateRecord:
    return CandidateRecord(
        deployment.pk, f"w{deployment.pk}", deployment.pool.name, verdict, wait_ms, 100.0, 1.0
    )


def test_reasons_and_share_come_from_recorded_calls(
    shop: Shop, sold: Deployment, rival: Deployment
) -> None:
    for _call in range(2):
        settled(shop, sold, candidate(sold, "chosen"), candidate(rival, "busy", 50.0))
    settled(shop, rival, candidate(rival, "chosen"), candidate(sold, "busy", 80.0))
    settled(shop, rival, candidate(rival, "chosen"), candidate(sold, "data_collection"))
    settled(shop, rival, candidate(rival, "chosen"))
    window = window_of({"range": "24h"}, timezone.now())

    lost = lost_of(sold, window)
    assert lost.calls == 5
    assert dict(lost.counts) == {
        Reason.WON: 2,
        Reason.BUSY: 1,
        Reason.DATA: 1,
        Reason.EJECTED: 1,
    }
    assert sum(sum(counts.values()) for _at, counts in lost.steps) == 5
    assert lost_of(rival, window).counts[Reason.BUSY] == 2

    traffic = traffic_of(sold, window)
    assert (traffic.totals.calls, traffic.model_calls, traffic.share) == (2, 5, 0.4)
    assert sum(traffic.columns()["calls"]) == 2


def test_the_page_and_the_api_say_the_same(shop: Shop, sold: Deployment, rival: Deployment) -> None:
    settled(shop, rival, candidate(rival, "chosen"), candidate(sold, "busy", 80.0))
    Worker.objects.filter(pool=sold.pool).update(healthy=False, health_error="HTTP 503")
    client = signed_in(shop.owner)
    page = client.get(f"/provide/deployments/{sold.pk}?range=24h").content.decode()
    assert "Busy: a wait was expected" in page
    assert "HTTP 503" in page
    received = api(shop.owner).get(f"/api/v1/offerings/{sold.pk}?range=24h").json()
    assert received["lost"] == [{"reason": "busy", "calls": 1, "share": 1.0}]
    assert received["workers"][0]["health_error"] == "HTTP 503"
    stranger = User.objects.create_user("s@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    assert api(stranger).get(f"/api/v1/offerings/{sold.pk}").status_code == 404
    client.force_login(stranger)
    for path in ("", "/price"):
        assert client.get(f"/provide/deployments/{sold.pk}{path}").status_code == 404


def counts(deployment: Deployment, **values: Any) -> RouterState:
    received = CountedState(deployment.pk, **values)
    return RouterState(1, 0, 0, (), counted=(received, CountedState(deployment.pk + 99, answers=7)))


def test_how_workers_count_is_shown_to_who_provides_them(
    shop: Shop, sold: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = counts(sold, answers=90, cut=30, unbilled_tokens=4_000, prompt_said=900, prompt_own=1_000)
    more = counts(sold, answers=10, stream_said=500, stream_own=100, stream_median=1.2)
    routers = Routers(left=cut, right=more, gone="it is silent")
    monkeypatch.setattr(polling, "WATCH", routers.watch)
    client = signed_in(shop.owner)
    page = client.get(f"/provide/deployments/{sold.pk}").content.decode()
    assert "1 router could not be asked." in page
    assert page.count("too many") == 1
    received = api(shop.owner).get(f"/api/v1/offerings/{sold.pk}").json()["counted"]
    assert received == {
        "answers": 100,
        "cut": 30,
        "unbilled_tokens": 4_000,
        "ratios": [
            {"of": "prompt", "ratio": 0.9, "median": 1.0, "most": 2.0},
            {"of": "stream", "ratio": 5.0, "median": 1.0, "most": 2.0},
        ],
        "unheard": 1,
    }
    client.cookies["django_language"] = "pt-br"
    assert (
        "Como os workers contam tokens"
        in client.get(f"/provide/deployments/{sold.pk}").content.decode()
    )


def test_the_page_believes_as_far_as_the_router_does() -> None:
    assert BELIEVED == TOLERANCE


def test_where_no_answer_was_looked_at_the_page_says_so(shop: Shop, sold: Deployment) -> None:
    client = signed_in(shop.owner)
    page = client.get(f"/provide/deployments/{sold.pk}").content.decode()
    assert "No answer of this deployment has been checked" in page


def api(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def test_a_price_says_what_it_means_before_it_is_published(shop: Shop, sold: Deployment) -> None:
    settled(shop, sold, prompt_tokens=1_000, completion_tokens=0)
    meaning = meaning_of(sold, DEAR)
    assert meaning.typical.calls == 1
    assert (meaning.charge_nano, meaning.before_nano, meaning.change) == (40_000, 20_000, 1.0)
    assert (meaning.commission_nano, meaning.earned_nano) == (4_000, 36_000)


def test_an_upcoming_price_is_withdrawn_by_a_newer_one_of_its_date(sold: Deployment) -> None:
    later = timezone.now() + timedelta(days=1)
    offer = price_set(deployment=sold, price=DEAR, effective_at=later)
    assert price_versions(sold)[0].state == "upcoming"
    taken_back = price_withdraw(offer=offer)
    assert taken_back.prompt_nano_per_million == 20_000_000
    states = {version.offer.pk: version.state for version in price_versions(sold)}
    assert states[offer.pk] == "withdrawn"
    with pytest.raises(ValidationError, match="not in force yet"):
        price_withdraw(offer=offer)
    in_force = offer_in_force(sold)
    assert in_force is not None
    with pytest.raises(ValidationError, match="not in force yet"):
        price_withdraw(offer=in_force)


@pytest.mark.parametrize(
    ("days", "price"), [(-1, DEAR), (400, DEAR), (1, Price(id=0))], ids=["past", "far", "nothing"]
)
def test_a_price_that_makes_no_sense_is_refused(sold: Deployment, days: int, price: Price) -> None:
    with pytest.raises(ValidationError):
        price_set(deployment=sold, price=price, effective_at=timezone.now() + timedelta(days=days))
    assert sold.offers.count() == 1


def test_the_price_editor_previews_and_publishes(shop: Shop, sold: Deployment) -> None:
    client = signed_in(shop.owner)
    path = f"/provide/deployments/{sold.pk}/price"
    body = {"prompt_nano_per_million": "0.04", "batch_discount_bps": "12,5"}
    assert b"more than now" in client.post(path, {**body, "preview": "1"}).content
    cheaper = {**body, "prompt_nano_per_million": "0.01", "preview": "1"}
    assert b"Customers pay 50.0 % less than now" in client.post(path, cheaper).content
    assert sold.offers.count() == 1
    assert client.post(path, body).status_code == 302
    published = offer_in_force(sold)
    assert published is not None
    assert (published.prompt_nano_per_million, published.batch_discount_bps) == (40_000_000, 1_250)
    assert b'value="12.5"' in client.get(path).content
    assert client.post(path, {**body, "batch_discount_bps": ""}).status_code == 302
    assert sold.offers.filter(batch_discount_bps=1_250).count() == 2, "left empty, it is kept"
    assert client.post(path, {**body, "batch_discount_bps": "101"}).status_code == 422
    past = client.post(path, {**body, "effective_at": "2020-01-01T00:00"})
    assert past.status_code == 422
    assert b"never in the past" in past.content
    for odd in ("x", "9" * 5_000):
        assert client.post(f"{path}/withdraw", {"offer": odd}).status_code == 404
    viewer = User.objects.create_user("v@example.com")
    Membership.objects.create(organisation=shop.organisation, user=viewer, role=Role.VIEWER)
    client.force_login(viewer)
    assert client.post(path, body).status_code == 403


def test_prices_over_the_api(shop: Shop, sold: Deployment) -> None:
    owner, path = api(shop.owner), f"/api/v1/offerings/{sold.pk}/prices"
    body = {"prompt_nano_per_million": 40_000_000}
    preview = owner.post(path, {**body, "preview": True, "batch_discount_bps": 2_500}).json()
    assert (preview["change"], preview["batch_nano"]) == (1.0, preview["charge_nano"] * 3 // 4)
    later = (timezone.now() + timedelta(days=2)).isoformat()
    made = owner.post(path, {**body, "effective_at": later})
    assert made.status_code == 201
    assert [row["state"] for row in made.json()] == ["upcoming", "in_force"]
    offer = made.json()[0]["id"]
    states = [row["state"] for row in owner.post(f"{path}/withdraw", {"offer": offer}).json()]
    assert states == ["upcoming", "withdrawn", "in_force"]
    assert owner.post(f"{path}/withdraw", {"offer": 10**9}).status_code == 404
