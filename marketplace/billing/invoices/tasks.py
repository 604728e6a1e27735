"""Invoices and payout statements, once a month is over."""

import logging

from django.utils import timezone

from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import CLOCK_SKEW, statements_issue
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)


@every(3600.0, queue=Queue.WORK)
def issue_last_month() -> int:
    """Issue what last month still lacks; returns how many. A run cut short is gone on with."""
    issued = statements_issue(month=Month.of(timezone.now() - CLOCK_SKEW).previous)
    if issued:
        log.info("issued %s to %s", issued[0].number, issued[-1].number)
    return len(issued)
