"""Periodic work on payments: charge due recharges, and retry what Stripe did not answer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import stripe
from django.conf import settings
from django.db.models import F
from django.utils.translation import gettext as _

from marketplace.billing.payments.books.transfers import debt_collect, debtors_with_credit
from marketplace.billing.payments.models import (
    Payment,
    PaymentProfile,
    PaymentPurpose,
    PaymentState,
    Refund,
    RefundState,
)
from marketplace.billing.payments.recharge import (
    UNANSWERED_MAX,
    recharge_begin,
    recharge_fail,
    recharge_give_up,
    recharges_in_flight,
    recharges_to_look_at,
)
from marketplace.billing.payments.refunds import refund_submit
from marketplace.billing.payments.services import PaymentMismatch
from marketplace.billing.payments.stripe import api as stripe_api
from marketplace.billing.payments.stripe.record import intent_record, session_record

SILENCE_MAX = timedelta(minutes=15)
"""After this time without an event of a Checkout, Stripe is asked for its state."""
ASK_AGAIN_AFTER = timedelta(hours=1)
ASKED_MAX = 20
"""Checkouts to ask about in a round, at most."""

log = logging.getLogger(__name__)


def payments_pursue(*, now: datetime) -> int:
    """Do one round; returns how many recharges were requested. Concurrent rounds charge once."""
    for debtor in debtors_with_credit():
        debt_collect(organisation=debtor)
    if not settings.PAYMENTS_ON:
        return 0
    for organisation_id in recharges_to_look_at():
        recharge_begin(organisation_id=organisation_id, now=now)
    requested = 0
    try:
        for refund in Refund.objects.filter(state=RefundState.REQUESTED).select_related("payment"):
            with _apart(refund):
                refund_submit(refund=refund)
        for payment in recharges_in_flight():
            with _apart(payment):
                recharge_charge(payment=payment, now=now)
                requested += 1
        checkouts_ask(now=now)
    except stripe.StripeError:
        # If Stripe fails, it fails for the next one too, and the round must end.
        log.exception("stripe did not answer; the next round asks again")
    return requested


def checkouts_ask(*, now: datetime) -> None:
    """Ask Stripe about Checkouts without an event, so that a lost event loses no payment."""
    silent = (
        Payment.objects.filter(
            purpose=PaymentPurpose.TOPUP,
            state=PaymentState.PENDING,
            session_id__isnull=False,
            created_at__lt=now - SILENCE_MAX,
        )
        .exclude(asked_at__gt=now - ASK_AGAIN_AFTER)
        .order_by(F("asked_at").asc(nulls_first=True), "created_at")
    )
    for payment in silent[:ASKED_MAX]:
        Payment.objects.filter(pk=payment.pk).update(asked_at=now)
        with _apart(payment):
            session_record(session=stripe_api.session_retrieve(payment.session_id or ""))


def recharge_charge(*, payment: Payment, now: datetime) -> None:
    """Request a pending recharge. ``stripe.StripeError`` if Stripe does not answer."""
    if payment.intent_id:
        # Stripe has it, and banks take time: ask for its state, and never give up.
        under_way = stripe_api.intent_retrieve(payment.intent_id)
        if under_way is not None:
            intent_record(intent=under_way, now=now)
        return
    if now - payment.created_at > UNANSWERED_MAX:
        recharge_give_up(payment=payment, failure=_("Stripe did not answer."), now=now)
        return
    profile = PaymentProfile.objects.get(organisation=payment.organisation)
    try:
        intent_record(
            intent=stripe_api.recharge_create(payment, customer_id=profile.customer_id or ""),
            now=now,
        )
    except (stripe.CardError, stripe.InvalidRequestError) as refused:
        recharge_fail(payment=payment, failure=str(refused.user_message), now=now)


@contextmanager
def _apart(what: Payment | Refund) -> Iterator[None]:
    """Log the error of one item, so that the others are still handled."""
    try:
        yield
    except (PaymentMismatch, stripe.InvalidRequestError, stripe.IdempotencyError):
        log.exception("%s is left as it is: a person has to look", what)
