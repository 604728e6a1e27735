"""A listing from its draft to live and back, on record."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from marketplace.audit.models import AuditEntry
from marketplace.benchmarks.runs.job import benchmark_run
from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus, Worker
from marketplace.providers.listings.states import ListingState, Who
from marketplace.providers.models import ConformanceRun, ListingEvent
from marketplace.providers.services import SYSTEM, listing_act, listing_update, listings_follow
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.providers.listings.moving import (
    A,
    Draft,
    act,
    checked,
    measured,
    sold,
)

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_the_whole_way_ends_on_sale_and_is_on_record(draft: Draft) -> None:
    listing = checked(draft)
    assert listing.state == ListingState.CHECKED
    deployment = listing.deployment
    assert deployment is not None
    assert deployment.status == DeploymentStatus.PAUSED
    assert not deployment.version.model.published
    assert "harbour/sea-1" not in sold()

    listing = act(measured(listing), A.REQUEST_REVIEW)
    listing = act(listing, A.APPROVE, Who.STAFF)

    assert listing.state == ListingState.LIVE
    assert "harbour/sea-1" in sold()
    assert AIModel.objects.get(name="harbour/sea-1").published
    offer = deployment.offers.get()
    assert offer.completion_nano_per_million == 60_000_000
    assert Worker.objects.get(pool__name="harbour-cpu").worker_id == "harbour-cpu-0"
    history = listing.events.order_by("id").values_list("action", "actor")
    assert list(history) == [
        ("submit", "provider@x"),
        ("pass", "system"),
        ("benchmark", "provider@x"),
        ("measured", "system"),
        ("request-review", "provider@x"),
        ("approve", "staff@x"),
    ]
    newest = AuditEntry.objects.filter(content_type__model="listing").latest("id")
    assert newest.organisation == listing.provider.organisation
    assert newest.changes == {"state": ["review", "live"]}


def test_pausing_takes_it_off_sale_and_resuming_puts_it_back(draft: Draft) -> None:
    listing = act(act(measured(checked(draft)), A.REQUEST_REVIEW), A.APPROVE, Who.STAFF)
    act(listing, A.PAUSE)
    assert "harbour/sea-1" not in sold()
    act(listing, A.RESUME)
    assert "harbour/sea-1" in sold()
    act(listing, A.SUSPEND, Who.STAFF, why="complaints")
    assert "harbour/sea-1" not in sold()
    with pytest.raises(ValidationError, match="cannot resume"):
        act(listing, A.RESUME)
    act(listing, A.RETIRE)
    assert Deployment.objects.get(pk=listing.deployment_id).status == DeploymentStatus.RETIRED


def test_a_changed_listing_is_checked_again_and_keeps_its_rows(draft: Draft) -> None:
    listing = act(checked(draft), A.REVISE)
    listing_update(listing=listing, description="More words.", completion_nano_per_million=7)
    listing = act(listing, A.SUBMIT)
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    assert AIModel.objects.get(name="harbour/sea-1").description == "More words."
    assert Deployment.objects.filter(provider__slug="harbour").count() == 1
    assert listing.deployment is not None
    newest = listing.deployment.offers.first()
    assert newest is not None
    assert newest.completion_nano_per_million == 7


def test_staff_give_a_reason_and_what_happened_is_never_changed(draft: Draft) -> None:
    listing = act(measured(checked(draft)), A.REQUEST_REVIEW)
    with pytest.raises(ValidationError, match="Give a reason"):
        act(listing, A.SEND_BACK, Who.STAFF)
    act(listing, A.SEND_BACK, Who.STAFF, why="a better name")
    event = ListingEvent.objects.first()
    assert event is not None
    assert event.why == "a better name"
    with pytest.raises(ValidationError):
        event.save()


def test_the_database_knows_the_states(draft: Draft) -> None:
    listing = draft()
    for state in ("sold", ListingState.LIVE):
        listing.state = state
        with pytest.raises(IntegrityError), transaction.atomic():
            listing.save()


def test_a_failed_benchmark_leaves_it_checked(draft: Draft) -> None:
    listing = act(checked(draft), A.BENCHMARK)
    assert listing.benchmark is not None
    listing.benchmark.state, listing.benchmark.error = JobState.FAILED, "no slots"
    listing.benchmark.save()
    listings_follow()
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    assert listing.events.first().why == "no slots"  # type: ignore[union-attr]
    with pytest.raises(ValidationError, match="for provider"):
        listing_act(listing=measured(listing), action=A.REQUEST_REVIEW, actor=SYSTEM)


def test_a_listing_moves_on_as_its_benchmark_ends(
    draft: Draft, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    listing = act(checked(draft), A.BENCHMARK)
    assert listing.benchmark is not None
    # Its run fails at once.
    settings.ROUTER_UPSTREAM_NETWORKS = []
    with django_capture_on_commit_callbacks(execute=True):
        benchmark_run(listing.benchmark)
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    entry = AuditEntry.objects.filter(content_type__model="listing").latest("id")
    assert (entry.source, entry.actor_name) == ("job", "providers.follow_benchmarks")
