"""Proves the books while the system runs."""

import logging

from marketplace.billing.models import ReconciliationReport
from marketplace.billing.seals.services import transfers_seal
from marketplace.billing.services import ledger_reconcile
from marketplace.shared.jobs.periodic import Queue, daily, every

WHOLE_AT = (3,)
"""The hour (UTC) of the proof from the beginning."""
WHOLE_TIME_LIMIT_S = 6 * 3600.0

log = logging.getLogger(__name__)


@every(300.0, queue=Queue.CONTROL)
def reconcile() -> int:
    """Store a reconciliation report; returns how many gaps it found."""
    return _reported(ledger_reconcile())


@every(600.0, queue=Queue.WORK)
def seal() -> int:
    """Seal transfers, so that proofs stay short; returns how many."""
    return transfers_seal()


@daily(WHOLE_AT, queue=Queue.WORK, time_limit_s=WHOLE_TIME_LIMIT_S)
def reconcile_whole() -> int:
    """Prove the books from the beginning; returns how many gaps there are."""
    return _reported(ledger_reconcile(whole=True))


def _reported(report: ReconciliationReport) -> int:
    for gap in report.gaps:
        log.error("ledger: %s", gap)
    return len(report.gaps)
