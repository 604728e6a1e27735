"""Refunds, ordered by staff or reported by Stripe, and disputes."""

import logging
import uuid

import stripe
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.billing.payments.books.money import CURRENCY, usd_of_cents
from marketplace.billing.payments.books.transfers import taking_book
from marketplace.billing.payments.models import (
    Dispute,
    DisputeState,
    Payment,
    PaymentState,
    Refund,
    RefundState,
)
from marketplace.billing.payments.services import PaymentMismatch, payments_are_on
from marketplace.billing.payments.staff import KEY_USED
from marketplace.billing.payments.stripe import api as stripe_api
from marketplace.billing.payments.stripe.shapes import StripeDispute, StripeRefund, our_id
from marketplace.catalog.prices import number_text

log = logging.getLogger(__name__)

REFUND_STATES = {
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}
DISPUTE_STATES = {
    "warning_needs_response": DisputeState.INQUIRY,
    "warning_under_review": DisputeState.INQUIRY,
    "prevented": DisputeState.INQUIRY,
    "warning_closed": DisputeState.WON,
    "won": DisputeState.WON,
    "lost": DisputeState.LOST,
}
"""With any other status the bank has the money."""


def refundable_cents(payment: Payment) -> int:
    """The amount of a received payment that is neither refunded nor about to be."""
    if payment.state != PaymentState.SUCCEEDED:
        return 0
    refunds = (refund for refund in payment.refunds.all() if refund.state != RefundState.FAILED)
    return payment.amount_cents - sum(refund.amount_cents for refund in refunds)


def refund_request(
    *, payment: Payment, amount_cents: int, reason: str, requested_by: User, idem_key: str = ""
) -> Refund:
    """Order a refund, as `refund_open`. Stripe is asked at once, and by a job until it answers."""
    refund = refund_open(
        payment=payment,
        amount_cents=amount_cents,
        reason=reason,
        requested_by=requested_by,
        idem_key=idem_key,
    )
    return refund_submit_or_later(refund=refund)


@transaction.atomic
def refund_open(
    *, payment: Payment, amount_cents: int, reason: str, requested_by: User, idem_key: str = ""
) -> Refund:
    """Store an order. The same ``idem_key`` of a payment orders once.

    Raises ``ValidationError`` for more than is left of the payment, and for an ``idem_key`` that a
    refund of another amount has used.
    """
    payments_are_on()
    payment = Payment.objects.select_for_update().get(pk=payment.pk)
    refund_id = uuid.uuid5(payment.pk, idem_key) if idem_key else uuid.uuid4()
    ordered = Refund.objects.filter(pk=refund_id).first()
    if ordered is not None:
        if ordered.amount_cents != amount_cents:
            raise ValidationError(KEY_USED)
        return ordered
    refund_amount_check(payment, amount_cents)
    return Refund.objects.create(
        pk=refund_id,
        payment=payment,
        amount_cents=amount_cents,
        reason=reason,
        requested_by=requested_by,
    )


def refund_amount_check(payment: Payment, amount_cents: int) -> None:
    """ValidationError unless this amount of a payment can be refunded."""
    left = refundable_cents(payment)
    if not 0 < amount_cents <= left:
        raise ValidationError(
            _("At most %(left)s US dollars of this payment can be refunded.")
            % {"left": number_text(usd_of_cents(left), 2)}
        )


def refund_submit_or_later(*, refund: Refund) -> Refund:
    """Submit an order that Stripe does not have; without an answer it stays requested."""
    if refund.state != RefundState.REQUESTED:
        return refund
    try:
        return refund_submit(refund=refund)
    except stripe.StripeError:
        log.exception("refund %s has not reached Stripe yet", refund.pk)
        return refund


def refund_submit(*, refund: Refund) -> Refund:
    """Submit a requested refund to Stripe. ``stripe.StripeError`` if it does not answer."""
    try:
        found = stripe_api.refund_create(refund)
    except (stripe.CardError, stripe.InvalidRequestError) as refused:
        with transaction.atomic():
            refund = Refund.objects.select_for_update().get(pk=refund.pk)
            if refund.state == RefundState.REQUESTED:
                refund.state, refund.failure = RefundState.FAILED, str(refused.user_message)
                refund.save(update_fields=["state", "failure"])
        return refund
    return refund_record(payment=refund.payment, found=found)


@transaction.atomic
def refund_record(*, payment: Payment, found: StripeRefund) -> Refund:
    """Record Stripe's report on any refund. Reports older than the last one are ignored."""
    # The payment's lock orders concurrent events about one payment.
    payment = Payment.objects.select_for_update().get(pk=payment.pk)
    _same_currency(found.id, found.currency)
    refund = _refund_row(payment, found)
    state = REFUND_STATES.get(found.status or "pending", RefundState.PENDING)
    order = list(RefundState)
    if order.index(state) >= order.index(RefundState(refund.state)):
        refund.state = state
    refund.stripe_id = found.id
    refund.amount_cents = found.amount
    refund.failure = found.failure_reason or ""
    refund.save()
    taking_book(taking=refund)
    return refund


@transaction.atomic
def dispute_record(*, payment: Payment, found: StripeDispute) -> Dispute:
    """Record Stripe's report on a dispute. Reports older than the last one are ignored."""
    payment = Payment.objects.select_for_update().get(pk=payment.pk)
    _same_currency(found.id, found.currency)
    dispute = payment.disputes.filter(stripe_id=found.id).first() or Dispute(
        payment=payment, stripe_id=found.id, amount_cents=found.amount
    )
    state = DISPUTE_STATES.get(found.status, DisputeState.OPEN)
    order = list(DisputeState)
    if order.index(state) >= order.index(DisputeState(dispute.state)):
        dispute.state = state
    dispute.reason = found.reason
    dispute.save()
    taking_book(taking=dispute)
    return dispute


def _refund_row(payment: Payment, found: StripeRefund) -> Refund:
    ours = our_id((found.metadata or {}).get(stripe_api.REFUND_KEY))
    return (
        payment.refunds.filter(stripe_id=found.id).first()
        or (payment.refunds.filter(pk=ours, stripe_id=None).first() if ours else None)
        or Refund(payment=payment, amount_cents=found.amount, reason="Ordered at Stripe.")
    )


def _same_currency(stripe_id: str, currency: str) -> None:
    if currency != CURRENCY:
        raise PaymentMismatch(f"{stripe_id} is in {currency!r}, and payments are in {CURRENCY!r}")
