"""Charge saved cards where credit runs low, and finish what Stripe did not answer."""

from celery import shared_task
from django.utils import timezone

from marketplace.billing.payments.pursuit import payments_pursue


@shared_task
def pursue_payments() -> int:
    """One round; returns how many recharges were asked for."""
    return payments_pursue(now=timezone.now())
