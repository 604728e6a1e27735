"""Listings on their way: check endpoints, and move on what was measured."""

import logging

from marketplace.providers.checking import check_next
from marketplace.providers.conformance.probing import RUN_S_MAX
from marketplace.providers.services import listings_follow
from marketplace.shared.jobs.periodic import Queue, every

CHECK_LIMIT_S = RUN_S_MAX + 60
"""A check of several slow endpoints takes longer than other tasks may."""

log = logging.getLogger(__name__)


@every(2.0, queue=Queue.WORK, time_limit_s=RUN_S_MAX + 60)
def check_next_listing() -> int | None:
    """Check the listing that has waited longest; returns the check's id, None if none waits."""
    run = check_next()
    if run is not None:
        log.info("conformance check #%s is over", run)
    return run


@every(2.0, queue=Queue.CONTROL)
def follow_benchmarks() -> int:
    """Move listings on whose benchmark is over; returns how many."""
    return len(listings_follow())
