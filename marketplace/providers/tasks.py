"""Check endpoints of listings, and move on listings that were measured."""

from marketplace.providers.conformance.probing import RUN_S_MAX
from marketplace.providers.listings.checking import listing_check, listing_conclude
from marketplace.providers.models import ConformanceRun
from marketplace.providers.services import deployments_hide, listings_follow
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.periodic import Queue, every
from marketplace.shared.jobs.services import SWEEP_EVERY_S, job_register

# The work ends when its time is over, and reports it.
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
    """Move on listings whose benchmark ended without a signal; returns how many."""
    return len(listings_follow())


@every(SWEEP_EVERY_S, queue=Queue.CONTROL)
def hide_staged() -> int:
    """Hide deployments that wait for approval and are shown; returns how many."""
    return deployments_hide()
