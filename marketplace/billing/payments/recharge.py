"""Auto-recharge: at most one charge in flight for an organisation, within the month's cap.

A charge is decided under the lock of the rule's row and stored as a pending payment before Stripe
is asked. Every request uses that payment's idempotency key. Without an answer the payment stays
pending, and the next run asks again.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import stripe
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.billing.models import Account
from marketplace.billing.payments.books.transfers import owed_nano
from marketplace.billing.payments.models import (
    AutoRecharge,
    Payment,
    PaymentProfile,
    PaymentPurpose,
    PaymentState,
)
from marketplace.billing.payments.services import payment_end, topup_amount_check
from marketplace.billing.payments.stripe import api as stripe_api

log = logging.getLogger(__name__)

FAILURES_MAX = 4
"""Auto-recharge turns off after this many refusals in a row."""
BACKOFF = timedelta(minutes=15)
BACKOFF_FACTOR = 4
UNANSWERED_MAX = timedelta(hours=20)
"""Stripe keeps idempotency keys for a day, so an older payment is not requested again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts for the decision; ``charged_cents`` are this month's recharges but failed ones."""

    available_nano: int
    owed_nano: int
    charged_cents: int
    is_in_flight: bool


def recharge_is_due(rule: AutoRecharge, standing: Standing, now: datetime) -> bool:
    """Whether to charge now: credit is low, the backoff has passed, and the cap allows it.

    Never while something is owed: charge upon charge would go to the debt and leave credit as low
    as it was, perhaps of the very card whose payment was taken back. A person pays that.
    """
    return (
        rule.enabled
        and not standing.is_in_flight
        and not standing.owed_nano
        and (rule.retry_at is None or rule.retry_at <= now)
        and standing.available_nano < rule.threshold_nano
        and standing.charged_cents + rule.amount_cents <= rule.cap_cents
    )


def backoff(failures: int) -> timedelta:
    """The wait after a refusal: 15 minutes, then one hour, then four."""
    return BACKOFF * BACKOFF_FACTOR ** (failures - 1)


@transaction.atomic
def auto_recharge_set(
    *,
    organisation: Organisation,
    enabled: bool,
    threshold_cents: int,
    amount_cents: int,
    cap_cents: int,
    changed_by: User,
) -> AutoRecharge:
    """Set threshold, amount and monthly cap. Earlier refusals no longer count."""
    topup_amount_check(amount_cents)
    if cap_cents < amount_cents:
        raise ValidationError(_("The month's cap must allow one charge."))
    cards = PaymentProfile.objects.exclude(payment_method_id="")
    if enabled and not cards.filter(organisation=organisation).exists():
        raise ValidationError(_("Top up once and save the card: auto-recharge charges that card."))
    rule, _created = AutoRecharge.objects.update_or_create(
        organisation=organisation,
        defaults={
            "enabled": enabled,
            "threshold_cents": threshold_cents,
            "amount_cents": amount_cents,
            "cap_cents": cap_cents,
            "changed_by": changed_by,
            "failures": 0,
            "failure": "",
            "retry_at": None,
        },
    )
    return rule


def card_forget(*, organisation: Organisation) -> None:
    """Forget the kept card, here and at Stripe, and turn auto-recharge off."""
    with transaction.atomic():
        # Saved one by one, as the audit log misses bulk updates.
        for rule in AutoRecharge.objects.select_for_update().filter(
            organisation=organisation, enabled=True
        ):
            rule.enabled = False
            rule.save(update_fields=["enabled"])
        profile = PaymentProfile.objects.select_for_update().get(organisation=organisation)
        kept, profile.payment_method_id = profile.payment_method_id, ""
        profile.save(update_fields=["payment_method_id"])
    if kept:
        try:
            stripe_api.card_detach(kept)
        except stripe.StripeError:
            # It is forgotten here even if Stripe fails.
            log.exception("card %s is still known to Stripe", kept)


@transaction.atomic
def recharge_begin(*, organisation_id: int, now: datetime) -> Payment | None:
    """Create a pending payment if one is due. A concurrent second call gets the first's."""
    rule = AutoRecharge.objects.select_for_update().get(pk=organisation_id)
    profile = PaymentProfile.objects.get(organisation_id=organisation_id)
    if not recharge_is_due(rule, _standing(rule.organisation, now), now):
        return None
    return Payment.objects.create(
        organisation_id=organisation_id,
        purpose=PaymentPurpose.RECHARGE,
        amount_cents=rule.amount_cents,
        # Kept with the payment: Stripe refuses the same idempotency key with another card.
        payment_method_id=profile.payment_method_id,
    )


@transaction.atomic
def recharge_fail(*, payment: Payment, failure: str, now: datetime) -> None:
    """Record a refusal once. It is retried later; after `FAILURES_MAX` the rule turns off."""
    if payment_end(payment=payment, state=PaymentState.FAILED, failure=failure):
        _refusal_count(payment, failure, now, most=FAILURES_MAX)


@transaction.atomic
def recharge_give_up(*, payment: Payment, failure: str, now: datetime) -> None:
    """Give up on a payment without an answer, and turn the rule off. The cap still counts it."""
    if payment_end(payment=payment, state=PaymentState.EXPIRED, failure=failure):
        _refusal_count(payment, failure, now, most=1)


@transaction.atomic
def recharge_forgive(*, organisation: Organisation) -> None:
    """Reset the count of refusals after a successful payment."""
    AutoRecharge.objects.filter(organisation=organisation, enabled=True).update(
        failures=0, failure="", retry_at=None
    )


def recharges_to_look_at() -> list[int]:
    """Organisations that may need a recharge, by a cheap query; `recharge_begin` decides."""
    return list(
        AutoRecharge.objects.filter(enabled=True)
        .exclude(organisation__payment_profile__payment_method_id="")
        .filter(organisation__payment_profile__customer_id__isnull=False)
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def recharges_in_flight() -> list[Payment]:
    """Pending recharges, oldest first."""
    pending = Payment.objects.filter(purpose=PaymentPurpose.RECHARGE, state=PaymentState.PENDING)
    return list(pending.select_related("organisation").order_by("created_at"))


def recharged_cents(organisation_id: int, now: datetime) -> int:
    """Recharges of the calendar month (UTC): paid, pending, or given up without an answer."""
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = _recharges(organisation_id).filter(created_at__gte=month)
    counted = counted.exclude(state=PaymentState.FAILED)
    return counted.aggregate(sum=Sum("amount_cents"))["sum"] or 0


def _refusal_count(payment: Payment, failure: str, now: datetime, *, most: int) -> None:
    rule = AutoRecharge.objects.select_for_update().filter(pk=payment.organisation_id).first()
    if rule is None:
        return
    rule.failures += 1
    rule.failure = failure
    rule.retry_at = now + backoff(rule.failures)
    rule.enabled = rule.enabled and rule.failures < most
    rule.save(update_fields=["failures", "failure", "retry_at", "enabled"])


def _recharges(organisation_id: int) -> QuerySet[Payment]:
    return Payment.objects.filter(organisation_id=organisation_id, purpose=PaymentPurpose.RECHARGE)


def _standing(organisation: Organisation, now: datetime) -> Standing:
    """Read the facts under the lock of the rule's row: no recharge can begin, but one may end.

    So "in flight" is read before the credit: if it has ended, its credit is visible.
    """
    is_in_flight = _recharges(organisation.pk).filter(state=PaymentState.PENDING).exists()
    return Standing(
        available_nano=Account.objects.get(organisation=organisation).available_nano,
        owed_nano=owed_nano(organisation),
        charged_cents=recharged_cents(organisation.pk, now),
        is_in_flight=is_in_flight,
    )
