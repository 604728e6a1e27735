"""Charge saved cards where credit runs low, and finish what Stripe did not answer."""

from django.utils import timezone

from marketplace.billing.payments.follow_up import payments_pursue
from marketplace.shared.jobs.periodic import Queue, every


@every(60.0, queue=Queue.WORK)
def pursue_payments() -> int:
    """One round; returns how many recharges were asked for."""
    return payments_pursue(now=timezone.now())
