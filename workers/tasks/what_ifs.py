"""Answer what-if questions that people asked."""

import logging

from celery import shared_task

from marketplace.benchmarks.whatif.services import what_if_answer_next

log = logging.getLogger(__name__)


@shared_task
def answer_next() -> int | None:
    """Answer the one that has waited longest; returns its id, None where nothing waits."""
    row = what_if_answer_next()
    if row is None:
        return None
    log.info("what-if %s: %s %s", row.pk, row.state, row.error)
    return row.pk
