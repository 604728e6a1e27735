"""Listings that move from state to state."""

from collections.abc import Callable
from typing import Any

from marketplace.providers import tasks as tasks  # registers the kind of job
from marketplace.providers.listings.states import ListingAction, Who
from marketplace.providers.models import ConformanceRun, Listing
from marketplace.providers.services import Actor, listing_act, listings_follow
from marketplace.routing.models import SnapshotRow
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next

A = ListingAction
Draft = Callable[..., Listing]


def act(listing: Listing, action: str, who: Who = Who.PROVIDER, why: str = "") -> Listing:
    return listing_act(listing=listing, action=action, actor=Actor(who, f"{who}@x"), why=why)


def at(url: str) -> dict[str, Any]:
    return {"url": url, "protocol": "openai", "slots": 1}


def checked(draft: Draft, **values: Any) -> Listing:
    listing = act(draft(**values), A.SUBMIT)
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    return listing


def measured(listing: Listing) -> Listing:
    """As if the benchmark had run."""
    listing = act(listing, A.BENCHMARK)
    assert listing.benchmark is not None
    listing.benchmark.state = JobState.SUCCEEDED
    listing.benchmark.save()
    assert listings_follow() == [listing.pk]
    listing.refresh_from_db()
    return listing


def sold() -> set[str]:
    newest = SnapshotRow.objects.first()
    return {row["model"] for row in newest.body["deployments"]} if newest else set()
