"""What a revision of a listing changes, and what it leaves alone."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import offer_in_force
from marketplace.providers.listings.checking import listing_stage
from marketplace.providers.listings.drafts import draft_check
from marketplace.providers.listings.states import ListingAction, ListingState, Who
from marketplace.providers.models import ConformanceRun, Listing
from marketplace.providers.on_sale.prices import price_set
from marketplace.providers.services import listing_update
from marketplace.shared.jobs.services import job_run_next
from router.domain.pricing import Price
from tests.integration.marketplace.providers.listings.moving import act, checked, measured
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

A = ListingAction
Draft = Callable[..., Listing]
DEAR = Price(id=0, completion_nano_per_million=90_000_000)


def live(draft: Draft, **values: Any) -> Listing:
    listing = act(measured(checked(draft, **values)), A.REQUEST_REVIEW)
    return act(listing, A.APPROVE, Who.STAFF)


def revised(listing: Listing, **values: Any) -> Listing:
    listing = act(act(listing, A.PAUSE), A.REVISE) if listing.state == "live" else listing
    return listing_update(listing=listing, **values)


def checked_again(listing: Listing) -> Listing:
    act(listing, A.SUBMIT)
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    return listing


def test_a_revision_begins_with_the_price_in_force(draft: Draft) -> None:
    """It had that of the first listing, and put it back in force."""
    listing = live(draft)
    deployment = listing.deployment
    assert deployment is not None
    price_set(deployment=deployment, price=DEAR, batch_discount_bps=2_000)
    listing = checked_again(revised(listing, version_notes="A faster engine."))
    assert (listing.prompt_nano_per_million, listing.completion_nano_per_million) == (0, 90_000_000)
    assert deployment.offers.count() == 2
    listing = act(listing, A.REVISE)
    checked_again(revised(listing, completion_nano_per_million=80_000_000))
    offer = offer_in_force(deployment)
    assert offer is not None
    assert (offer.completion_nano_per_million, offer.batch_discount_bps) == (80_000_000, 2_000)


def test_a_listing_that_is_sent_back_has_the_price_that_was_set_meanwhile(draft: Draft) -> None:
    listing = act(measured(checked(draft)), A.REQUEST_REVIEW)
    assert listing.deployment is not None
    price_set(deployment=listing.deployment, price=DEAR)
    listing = act(listing, A.SEND_BACK, Who.STAFF, why="a better name")
    assert listing.completion_nano_per_million == 90_000_000


def test_another_task_has_a_price_in_its_own_units(draft: Draft) -> None:
    listing = revised(act(checked(draft), A.REVISE), task="rerank")
    deployment = listing_stage(listing=listing)
    assert [offer.unit for offer in deployment.offers.all()] == ["search_units", "rows"]


def test_what_is_said_of_a_published_model_changes_when_staff_approve_it(draft: Draft) -> None:
    listing = live(draft)
    listing = checked_again(revised(listing, description="Buy now!", license="MIT"))
    model = AIModel.objects.get(name="harbour/sea-1")
    assert (model.description, model.license) == ("Words about the sea.", "Apache-2.0")
    act(act(measured(listing), A.REQUEST_REVIEW), A.APPROVE, Who.STAFF)
    model.refresh_from_db()
    assert (model.description, model.license) == ("Buy now!", "MIT")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_name", "harbour/sea-2"),
        ("task", "embeddings"),
        ("tensors", {"inputs": [{"name": "X", "datatype": "FP32", "shape": [-1]}]}),
    ],
)
def test_what_calls_are_made_by_stays_in_a_published_model(
    draft: Draft, field: str, value: Any
) -> None:
    listing = revised(live(draft), **{field: value})
    with pytest.raises(ValidationError) as refused:
        act(listing, A.SUBMIT)
    assert "is published" in refused.value.message_dict[field][0]


def test_a_listing_of_anothers_model_that_becomes_its_own_leaves_that_alone(
    draft: Draft, shop: Shop
) -> None:
    """It renamed the other's model, which is published, and wrote over its description."""
    listing = checked(draft, existing_model=shop.model, version="1")
    listing = checked_again(revised(act(listing, A.REVISE), existing_model=None))
    name, description = shop.model.name, shop.model.description
    shop.model.refresh_from_db()
    assert (shop.model.name, shop.model.description) == (name, description)
    assert listing.deployment is not None
    assert listing.deployment.version.model == AIModel.objects.get(name="harbour/sea-1")


def test_what_is_changed_while_it_is_looked_at_is_not_submitted(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = draft()

    def changed_meanwhile(row: Listing) -> None:
        draft_check(row)
        listing_update(listing=listing, model_name="author/not-mine")

    monkeypatch.setattr("marketplace.providers.services.draft_check", changed_meanwhile)
    with pytest.raises(ValidationError, match="submit it again"):
        act(listing, A.SUBMIT)
    listing.refresh_from_db()
    assert listing.is_draft
    assert not ConformanceRun.objects.exists()
