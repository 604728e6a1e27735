"""Invoices and payout statements, once a month is over."""

import logging

from django.utils import timezone

from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import CLOCK_SKEW, statements_issue
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)


@every(3600.0, queue=Queue.WORK)
def issue_last_month() -> int:
    """Issue last month's missing statements; returns how many. Continues an interrupted run."""
    issued = statements_issue(month=Month.of(timezone.now() - CLOCK_SKEW).previous)
    if issued:
        log.info("issued %s to %s", issued[0].number, issued[-1].number)
    return len(issued)
