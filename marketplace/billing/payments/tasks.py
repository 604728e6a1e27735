"""Charges kept cards when credit runs low, and retries what Stripe did not answer."""

from django.utils import timezone

from marketplace.billing.payments.follow_up import payments_pursue
from marketplace.shared.jobs.periodic import Queue, every


@every(60.0, queue=Queue.WORK)
def pursue_payments() -> int:
    """Do one round; returns how many recharges were requested."""
    return payments_pursue(now=timezone.now())
