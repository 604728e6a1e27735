"""Records Stripe's report on a payment, from an answer or an event."""

from datetime import datetime

from marketplace.billing.payments.models import Payment, PaymentPurpose, PaymentState
from marketplace.billing.payments.recharge import recharge_fail, recharge_forgive
from marketplace.billing.payments.services import (
    card_save,
    payment_end,
    payment_find,
    payment_succeed,
)
from marketplace.billing.payments.stripe import api as stripe_api
from marketplace.billing.payments.stripe.shapes import Intent, Session

FAILED_STATUSES = {"requires_payment_method", "requires_action", "canceled"}
"""Statuses that mean failure when a kept card is charged, as nobody is there to act."""


def intent_record(*, intent: Intent, now: datetime) -> Payment | None:
    """Record an intent; returns its payment, None if it is not ours."""
    payment = payment_find(intent.metadata.get(stripe_api.PAYMENT_KEY))
    if payment is None:
        return None
    if intent.status == "succeeded":
        if intent.setup_future_usage == "off_session" and intent.payment_method:
            card_save(organisation=payment.organisation, payment_method_id=intent.payment_method)
        payment_succeed(
            payment=payment,
            intent_id=intent.id,
            received_cents=intent.amount,
            currency=intent.currency,
        )
        recharge_forgive(organisation=payment.organisation)
    elif payment.purpose == PaymentPurpose.RECHARGE and intent.status in FAILED_STATUSES:
        # Only for recharges: in Checkout the person may try another card.
        recharge_fail(payment=payment, failure=intent.failure, now=now)
    elif payment.purpose == PaymentPurpose.RECHARGE:
        Payment.objects.filter(pk=payment.pk, intent_id=None).update(intent_id=intent.id)
    return payment


def session_record(*, session: Session) -> Payment | None:
    """Record a Checkout Session; returns its payment, None if it is not ours."""
    payment = payment_find(session.client_reference_id)
    if payment is None:
        return None
    if session.payment_status == "paid":
        payment_succeed(
            payment=payment,
            intent_id=session.payment_intent or "",
            received_cents=session.amount_total or 0,
            currency=session.currency or "",
        )
    elif session.status == "expired":
        payment_end(payment=payment, state=PaymentState.EXPIRED)
    return payment
