"""The hardware advisor's answers are checked by emulation, one after the other."""

from marketplace.benchmarks.advisor.services import advice_check_next
from marketplace.shared.jobs.periodic import Queue, every


@every(2.0, queue=Queue.WORK)
def check_advice() -> int:
    """Check the oldest answer that waits; returns its id, 0 if none does."""
    advice = advice_check_next()
    return advice.pk if advice is not None else 0
