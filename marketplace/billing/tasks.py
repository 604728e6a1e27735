"""Proves the books while the system runs."""

import logging

from marketplace.billing.services import ledger_reconcile
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)


@every(300.0, queue=Queue.CONTROL)
def reconcile() -> int:
    """Store a reconciliation report; returns how many gaps it found."""
    report = ledger_reconcile()
    for gap in report.gaps:
        log.error("ledger: %s", gap)
    return len(report.gaps)
