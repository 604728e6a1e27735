"""Listings on their way: check endpoints, and move on what was measured."""

import logging

from celery import shared_task

from marketplace.providers.checking import check_next
from marketplace.providers.conformance.probing import RUN_S_MAX
from marketplace.providers.services import listings_follow

CHECK_LIMIT_S = RUN_S_MAX + 60
"""A check of several slow endpoints takes longer than other tasks may."""

log = logging.getLogger(__name__)


@shared_task(time_limit=CHECK_LIMIT_S)
def check_next_listing() -> int | None:
    """Check the listing that has waited longest; returns the check's id, None if none waits."""
    run = check_next()
    if run is not None:
        log.info("conformance check #%s is over", run)
    return run


@shared_task
def follow_benchmarks() -> int:
    """Move listings on whose benchmark is over; returns how many."""
    return len(listings_follow())
