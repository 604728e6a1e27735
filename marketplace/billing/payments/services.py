"""Services for payments. They call Stripe outside of transactions and record its reports inside."""

import logging
from dataclasses import dataclass

import stripe
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.billing.payments.books.money import CURRENCY, usd_of_cents
from marketplace.billing.payments.books.transfers import topup_book
from marketplace.billing.payments.models import (
    Payment,
    PaymentProfile,
    PaymentPurpose,
    PaymentState,
)
from marketplace.billing.payments.stripe import api as stripe_api
from marketplace.billing.payments.stripe.shapes import our_id
from marketplace.catalog.prices import number_text

PENDING_MAX = 20
"""Unpaid Checkouts of one organisation at most; each expires in a day."""

log = logging.getLogger(__name__)


class PaymentsUnavailable(Exception):
    """Stripe did not answer, or payments are off. The message is for people."""


class PaymentMismatch(Exception):
    """Stripe received another amount or currency than requested: a person must check."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """An unpaid payment, and the URL of Stripe's page for it."""

    payment: Payment
    url: str


def topup_amount_check(amount_cents: int) -> None:
    """ValidationError unless the amount is within this installation's bounds."""
    least, most = settings.WAYPOST_TOPUP_CENTS_MIN, settings.WAYPOST_TOPUP_CENTS_MAX
    if not least <= amount_cents <= most:
        raise ValidationError(
            _("An amount is between %(least)s and %(most)s US dollars.")
            % {
                "least": number_text(usd_of_cents(least), 2),
                "most": number_text(usd_of_cents(most), 2),
            }
        )


def topup_begin(
    *, organisation: Organisation, amount_cents: int, save_card: bool, created_by: User
) -> Checkout:
    """Prepare a payment at Stripe. No money moves until Stripe reports that it is paid."""
    payments_are_on()
    topup_amount_check(amount_cents)
    pending = organisation.payments.filter(state=PaymentState.PENDING)
    if pending.count() >= PENDING_MAX:
        raise ValidationError(
            _("Too many payments are waiting for Stripe. Finish one, or try tomorrow.")
        )
    payment = Payment.objects.create(
        organisation=organisation,
        purpose=PaymentPurpose.TOPUP,
        amount_cents=amount_cents,
        created_by=created_by,
    )
    base = settings.WAYPOST_PUBLIC_URL
    try:
        customer_id = customer_ensure(organisation=organisation, email=created_by.email)
        session_id, url = stripe_api.checkout_create(
            payment,
            customer_id=customer_id,
            save_card=save_card,
            return_url=f"{base}/billing/payments/{payment.pk}",
            cancel_url=f"{base}/billing",
        )
    except stripe.StripeError as error:
        log.exception("payment %s was not begun", payment.pk)
        payment_end(payment=payment, state=PaymentState.FAILED, failure="Stripe was not reached.")
        raise PaymentsUnavailable(_("Stripe could not be reached. Nothing was charged.")) from error
    Payment.objects.filter(pk=payment.pk).update(session_id=session_id)
    return Checkout(payment, url)


def customer_ensure(*, organisation: Organisation, email: str) -> str:
    """The organisation's customer at Stripe, created when it has none."""
    profile, _created = PaymentProfile.objects.get_or_create(organisation=organisation)
    if profile.customer_id is None:
        made = stripe_api.customer_create(profile, email)
        # Of two concurrent calls the first one's customer stays.
        PaymentProfile.objects.filter(pk=profile.pk, customer_id=None).update(customer_id=made)
        profile.refresh_from_db()
    return str(profile.customer_id)


@transaction.atomic
def payment_succeed(
    *, payment: Payment, intent_id: str, received_cents: int, currency: str
) -> Payment:
    """Book a received payment once, whatever its state was."""
    payment = Payment.objects.select_for_update().get(pk=payment.pk)
    if payment.state == PaymentState.SUCCEEDED and payment.intent_id == intent_id:
        return payment
    asked = (payment.intent_id or intent_id, payment.amount_cents, CURRENCY)
    received = (intent_id, received_cents, currency)
    if not intent_id or received != asked:
        raise PaymentMismatch(f"payment {payment.pk} is {asked}, Stripe received {received}")
    payment.state = PaymentState.SUCCEEDED
    payment.intent_id = intent_id
    payment.failure = ""
    payment.concluded_at = timezone.now()
    payment.save(update_fields=["state", "intent_id", "failure", "concluded_at"])
    topup_book(payment=payment)
    return payment


@transaction.atomic
def payment_end(*, payment: Payment, state: PaymentState, failure: str = "") -> bool:
    """End a pending payment without success; returns whether it was pending."""
    payment = Payment.objects.select_for_update().get(pk=payment.pk)
    if payment.state != PaymentState.PENDING:
        return False
    payment.state = state
    payment.failure = failure
    payment.concluded_at = timezone.now()
    payment.save(update_fields=["state", "failure", "concluded_at"])
    return True


def payment_find(reference: str | None) -> Payment | None:
    """The payment whose id Stripe carries; None if it is not ours."""
    found = our_id(reference)
    return Payment.objects.filter(pk=found).first() if found else None


def card_save(*, organisation: Organisation, payment_method_id: str) -> None:
    """Keep a card for auto-recharge."""
    PaymentProfile.objects.update_or_create(
        organisation=organisation, defaults={"payment_method_id": payment_method_id}
    )


def payments_are_on() -> None:
    """Raise PaymentsUnavailable if this installation has no Stripe keys."""
    if not settings.PAYMENTS_ON:
        raise PaymentsUnavailable(_("Payments are off here. An admin can grant credit."))
