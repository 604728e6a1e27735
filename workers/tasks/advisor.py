"""The hardware advisor's answers are checked by emulation, one after the other."""

from celery import shared_task

from marketplace.benchmarks.advisor.services import advice_check_next


@shared_task
def check_advice() -> int:
    """Check the oldest answer that waits; returns its id, 0 if none does."""
    advice = advice_check_next()
    return advice.pk if advice is not None else 0
