"""Answer what-if questions that people asked."""

import logging

from marketplace.benchmarks.whatif.services import what_if_answer_next
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)


@every(2.0, queue=Queue.WORK)
def answer_next() -> int | None:
    """Answer the one that has waited longest; returns its id, None where nothing waits."""
    row = what_if_answer_next()
    if row is None:
        return None
    log.info("what-if %s: %s %s", row.pk, row.state, row.error)
    return row.pk
