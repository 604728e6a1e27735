"""The pages of listings, and who may do what there."""

import pytest
from django.test.utils import CaptureQueriesContext

from marketplace.accounts.models import Membership, Role, User
from marketplace.providers.listings.states import ListingState
from marketplace.providers.models import Listing
from tests.integration.marketplace.providers.listings.moving import A, Draft, act, checked, measured
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_becoming_a_provider_and_saving_a_draft_half_done(shop: Shop) -> None:
    client = signed_in(shop.owner)
    assert b"Become a provider" in client.get("/provide").content
    made = client.post("/provide/providers", {"slug": "quay", "name": "Quay", "description": ""})
    assert made.status_code == 302
    begun = client.post("/provide/listings", {"provider": "quay"})
    edit = begun["location"]
    fields = {
        "endpoints-TOTAL_FORMS": "2",
        "endpoints-INITIAL_FORMS": "0",
        "endpoints-0-protocol": "openai",
        "endpoints-0-slots": "1",
        "endpoints-1-protocol": "openai",
        "endpoints-1-slots": "1",
        "model_name": "quay/one",
        "prompt_nano_per_million": "0,03",
    }
    assert client.post(edit, {**fields, "save": ""}).status_code == 302
    listing = Listing.objects.get()
    assert (listing.model_name, listing.prompt_nano_per_million) == ("quay/one", 30_000_000)
    refused = client.post(edit, {**fields, "submit": ""})
    assert refused.status_code == 422
    assert refused.content.count(b"This field is required.") > 5
    assert b"Enter at least one endpoint." in refused.content


def test_pages_are_for_the_provider_and_changes_for_those_who_may(
    draft: Draft, shop: Shop, stranger: User
) -> None:
    listing = draft()
    assert listing.pk
    pages = [
        f"/provide/listings/{listing.pk}",
        f"/provide/listings/{listing.pk}/edit",
        "/provide/providers/harbour",
    ]
    for page in pages:
        assert signed_in(shop.owner).get(page).status_code == 200
        assert signed_in(stranger).get(page).status_code == 404
    act_url = f"/provide/listings/{listing.pk}/act"
    assert signed_in(stranger).post(act_url, {"action": "retire"}).status_code == 404
    viewer = User.objects.create_user("viewer@example.com")
    Membership.objects.create(organisation=shop.organisation, user=viewer, role=Role.VIEWER)
    assert signed_in(viewer).get(pages[0]).status_code == 200
    assert signed_in(viewer).post(act_url, {"action": "retire"}).status_code == 403
    assert signed_in(shop.owner).get("/reviews").status_code == 403
    listing.refresh_from_db()
    assert listing.is_draft


def test_staff_review_over_pages(draft: Draft, shop: Shop) -> None:
    listing = act(measured(checked(draft)), A.REQUEST_REVIEW)
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    client = signed_in(staff)
    assert b"harbour/sea-1" in client.get("/reviews").content
    assert b"Supports stop" in client.get(f"/reviews/{listing.pk}").content
    act_url = f"/reviews/{listing.pk}/act"
    # What it may not do now, such as what another person has done before.
    refused = client.post(act_url, {"action": "reinstate", "why": "It is well again."})
    assert refused.status_code == 422
    assert "You wrote: It is well again." in refused.text
    client.post(act_url, {"action": "send-back", "why": ""})
    listing.refresh_from_db()
    assert listing.state == ListingState.REVIEW
    client.post(act_url, {"action": "send-back", "why": "Say more of it."})
    shown = signed_in(shop.owner).get(f"/provide/listings/{listing.pk}").content.decode()
    assert "Say more of it." in shown
    assert "staff@example.com" in shown
    client.post("/reviews/providers/harbour/commission", {"percent": "12,5"})
    listing.provider.refresh_from_db()
    assert listing.provider.commission_bps == 1_250
    for typed, said in (
        ("1,000", "write 1000 or 1.00."),
        ("101", "less than or equal to 100"),
        ("x", "Enter a number"),
    ):
        refused = client.post("/reviews/providers/harbour/commission", {"percent": typed})
        assert refused.status_code == 422
        assert said in refused.text
        assert f'value="{typed}"' in refused.text
    listing.provider.refresh_from_db()
    assert listing.provider.commission_bps == 1_250


def test_the_overview_asks_as_often_for_many_as_for_few(draft: Draft, shop: Shop) -> None:
    from django.db import connection

    client = signed_in(shop.owner)
    draft()
    client.get("/provide")
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/provide")
    for number in range(8):
        draft(model_name=f"harbour/sea-{number}")
    with CaptureQueriesContext(connection) as many:
        client.get("/provide")
    assert len(many) == len(few)
