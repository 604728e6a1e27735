"""Reading an organisation's payments."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.billing.payments.books.money import nano_of_cents
from marketplace.billing.payments.books.transfers import owed_nano
from marketplace.billing.payments.models import AutoRecharge, Payment, PaymentProfile
from marketplace.billing.payments.recharge import FAILURES_MAX, recharged_cents

SHOWN_MAX = 20
"""Payments on the Billing page at most; the management API has all."""


@dataclass(frozen=True, slots=True)
class PaymentsShown:
    """The payments part of the Billing page."""

    is_on: bool
    owed_nano: int
    payments: list[Payment]
    rule: AutoRecharge | None
    has_card: bool
    recharged_nano: int
    failures_max: int = FAILURES_MAX


def payments_of(organisation: Organisation) -> QuerySet[Payment]:
    """An organisation's payments, newest first, each with its refunds and disputes."""
    return (
        organisation.payments.select_related("created_by")
        .prefetch_related("refunds", "disputes")
        .order_by("-created_at", "-pk")
    )


def payments_shown(organisation: Organisation, now: datetime | None = None) -> PaymentsShown:
    """Read the payments part of the Billing page."""
    profile = PaymentProfile.objects.filter(organisation=organisation).first()
    month_cents = recharged_cents(organisation.pk, now or timezone.now())
    return PaymentsShown(
        is_on=settings.PAYMENTS_ON,
        owed_nano=owed_nano(organisation),
        payments=list(payments_of(organisation)[:SHOWN_MAX]),
        rule=AutoRecharge.objects.filter(organisation=organisation).first(),
        has_card=bool(profile and profile.payment_method_id),
        recharged_nano=nano_of_cents(month_cents),
    )
