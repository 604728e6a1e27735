"""The check of a listing: how it ends, begins again, and what it leaves."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from marketplace.catalog.models import Worker
from marketplace.providers.listings.checking import listing_check
from marketplace.providers.listings.states import ListingState
from marketplace.providers.models import ConformanceResult, ConformanceRun, Listing
from marketplace.providers.services import provider_open
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.providers.listings.moving import A, Draft, act, at, checked
from tests.integration.marketplace.providers.servers import fake_openai
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_a_failed_check_sends_it_back_to_its_draft(draft: Draft) -> None:
    with fake_openai("no_usage") as url:
        listing = checked(draft, endpoints=[{"url": url, "protocol": "openai", "slots": 1}])
    assert listing.state == ListingState.DRAFT
    assert listing.deployment is None
    event = listing.events.first()
    assert event is not None
    assert (event.action, event.actor) == ("fail", "system")
    assert "checks failed" in event.why


def test_a_check_is_cancelled_and_what_it_found_is_kept(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = act(draft(), A.SUBMIT)
    run = ConformanceRun.objects.get()

    def cancelled_meanwhile(targets: Any, policy: Any, *, tell: Any, is_cancelled: Any) -> None:
        from marketplace.providers.conformance.probing import Stopped

        assert not is_cancelled()
        act(listing, A.CANCEL)
        assert is_cancelled()
        raise Stopped

    check = replace(
        job_kinds[ConformanceRun], work=partial(listing_check, check=cancelled_meanwhile)
    )
    monkeypatch.setitem(job_kinds, ConformanceRun, check)
    job_run_next(ConformanceRun)
    run.refresh_from_db()
    listing.refresh_from_db()
    assert (run.state, listing.state) == (JobState.CANCELLED, ListingState.DRAFT)
    act(listing, A.SUBMIT)


def test_a_check_that_begins_again_keeps_no_result_twice(draft: Draft) -> None:
    listing = act(draft(), A.SUBMIT)
    run = ConformanceRun.objects.get()
    ConformanceResult.objects.create(run=run, check_name="usage", verdict="fail", code="ok")
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    found = list(run.results.values_list("check_name", flat=True))
    assert found.count("usage") == 1


def test_a_check_whose_rows_cannot_be_laid_out_sends_the_listing_back(draft: Draft) -> None:
    listing = act(draft(), A.SUBMIT)
    Listing.objects.filter(pk=listing.pk).update(pool_name="no name of a pool!")
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    run = ConformanceRun.objects.get()
    assert (run.state, listing.state) == (JobState.FAILED, ListingState.DRAFT)
    assert listing.deployment is None


@pytest.mark.parametrize("slug", ["harbour", "quay"])
def test_a_new_pool_is_that_of_the_listing_whose_check_ends_first(
    draft: Draft, shop: Shop, slug: str
) -> None:
    first = act(draft(), A.SUBMIT)
    provider = first.provider
    if slug == "quay":
        provider = provider_open(organisation=shop.organisation, slug="quay", name="Quay")
    with fake_openai() as url:
        second = draft(model_name=f"{slug}/sea-2", region="elsewhere", endpoints=[at(url)])
        second.provider = provider
        second.save()
        act(second, A.SUBMIT)
        for _ in range(2):
            job_run_next(ConformanceRun)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == (ListingState.CHECKED, ListingState.DRAFT)
    event = second.events.first()
    assert event is not None
    assert "made a pool harbour-cpu" in event.why
    worker = Worker.objects.get(pool__name="harbour-cpu")
    assert (worker.url, worker.pool.region) == (first.endpoints[0]["url"], "local")
