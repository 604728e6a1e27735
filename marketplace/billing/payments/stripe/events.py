"""Applies Stripe's events: each once, in any order, recorded in its row."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import transaction

from marketplace.billing.payments.models import EventVerdict, Payment, PaymentState, StripeEvent
from marketplace.billing.payments.refunds import dispute_record, refund_record
from marketplace.billing.payments.services import payment_end
from marketplace.billing.payments.stripe import api as stripe_api
from marketplace.billing.payments.stripe.record import intent_record, session_record
from marketplace.billing.payments.stripe.shapes import (
    Event,
    Intent,
    Session,
    StripeDispute,
    StripeRefund,
)

log = logging.getLogger(__name__)


@transaction.atomic
def event_receive(*, event: Event, now: datetime) -> EventVerdict:
    """Apply an event, or return its earlier verdict. A concurrent second delivery waits."""
    apply = HANDLERS.get(event.type)
    row, is_new = StripeEvent.objects.get_or_create(
        event_id=event.id,
        defaults={
            "kind": event.type,
            "created_at": datetime.fromtimestamp(event.created, UTC),
            "verdict": EventVerdict.APPLIED if apply else EventVerdict.IGNORED,
        },
    )
    if not is_new or apply is None:
        return EventVerdict(row.verdict)
    if apply(event, now) is None:
        log.warning("stripe: %s %s is about a payment that is not ours", event.type, event.id)
        row.verdict = EventVerdict.UNKNOWN
        row.save(update_fields=["verdict"])
    return EventVerdict(row.verdict)


def _intent(event: Event, now: datetime) -> Payment | None:
    return intent_record(intent=event.about(Intent), now=now)


def _session(event: Event, now: datetime) -> Payment | None:
    payment = session_record(session=event.about(Session))
    if payment is not None and event.type == "checkout.session.async_payment_failed":
        payment_end(payment=payment, state=PaymentState.FAILED)
    return payment


def _refund(event: Event, now: datetime) -> Payment | None:
    refund = event.about(StripeRefund)
    payment = _payment_of_intent(refund.payment_intent, now)
    if payment is not None:
        refund_record(payment=payment, found=refund)
    return payment


def _dispute(event: Event, now: datetime) -> Payment | None:
    dispute = event.about(StripeDispute)
    payment = _payment_of_intent(dispute.payment_intent, now)
    if payment is not None:
        dispute_record(payment=payment, found=dispute)
    return payment


HANDLERS: dict[str, Callable[[Event, datetime], Payment | None]] = {
    "checkout.session.completed": _session,
    "checkout.session.async_payment_succeeded": _session,
    "checkout.session.async_payment_failed": _session,
    "checkout.session.expired": _session,
    "payment_intent.succeeded": _intent,
    "payment_intent.payment_failed": _intent,
    "payment_intent.canceled": _intent,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.closed": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "charge.dispute.funds_reinstated": _dispute,
}
"""Event types to subscribe to; others are acknowledged and ignored."""


def _payment_of_intent(intent_id: str | None, now: datetime) -> Payment | None:
    """The payment with this intent id. Asks Stripe if a refund arrives before its payment."""
    if not intent_id:
        return None
    payment = Payment.objects.filter(intent_id=intent_id).first()
    if payment is not None:
        return payment
    intent = stripe_api.intent_retrieve(intent_id)
    return intent_record(intent=intent, now=now) if intent else None
