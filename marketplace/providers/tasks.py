"""Listings on their way: check endpoints, and move on what was measured."""

from marketplace.providers.conformance.probing import RUN_S_MAX
from marketplace.providers.listings.checking import listing_check, listing_conclude
from marketplace.providers.models import ConformanceRun
from marketplace.providers.services import listings_follow
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.periodic import Queue, every
from marketplace.shared.jobs.services import SWEEP_EVERY_S, job_register

# The work ends by itself when its time is over, and says so.
job_register(
    JobKind(
        ConformanceRun,
        listing_check,
        over=listing_conclude,
        time_limit_s=RUN_S_MAX + 50,
        at_once=2,
    )
)


@every(SWEEP_EVERY_S, queue=Queue.CONTROL)
def follow_benchmarks() -> int:
    """Move listings on whose benchmark is over and did not say so; returns how many."""
    return len(listings_follow())
