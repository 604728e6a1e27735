"""Events as Stripe sends them, signed as it signs them, and delivered as it delivers them."""

import itertools
import json
import time
import uuid
from typing import Any

import stripe
from django.test import Client

from marketplace.accounts.models import Organisation
from marketplace.billing.models import Account, Payment

SECRET = "whsec_test"
NANO_PER_CENT = 10_000_000
_numbers = itertools.count(1)


def new_id(prefix: str) -> str:
    return f"{prefix}_{next(_numbers)}_{uuid.uuid4().hex[:8]}"


def event(kind: str, about: dict[str, Any], event_id: str = "") -> dict[str, Any]:
    return {
        "id": event_id or new_id("evt"),
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": about},
    }


def session(payment: Payment, **changes: Any) -> dict[str, Any]:
    fields = {
        "id": new_id("cs"),
        "object": "checkout.session",
        "client_reference_id": str(payment.pk),
        "payment_intent": new_id("pi"),
        "payment_status": "paid",
        "amount_total": payment.amount_cents,
        "currency": "usd",
    }
    return {**fields, **changes}


def intent(payment: Payment, **changes: Any) -> dict[str, Any]:
    fields = {
        "id": payment.intent_id or new_id("pi"),
        "object": "payment_intent",
        "status": "succeeded",
        "amount": payment.amount_cents,
        "currency": "usd",
        "metadata": {"waypost_payment": str(payment.pk)},
        "payment_method": "pm_1",
        "setup_future_usage": None,
        "last_payment_error": None,
    }
    return {**fields, **changes}


def refund(payment: Payment, amount: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "currency": "usd",
        "status": "succeeded",
        "payment_intent": payment.intent_id,
        "metadata": {},
    }
    return {**fields, **changes}


def dispute(payment: Payment, amount: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "id": new_id("dp"),
        "object": "dispute",
        "amount": amount,
        "currency": "usd",
        "status": "needs_response",
        "reason": "fraudulent",
        "payment_intent": payment.intent_id,
    }
    return {**fields, **changes}


def deliver(told: dict[str, Any], *, secret: str = SECRET, age_s: int = 0, body: str = "") -> int:
    """Post an event; returns the answer's status."""
    payload = json.dumps(told)
    signature = stripe.WebhookSignature.generate_signature_header(
        payload, secret, int(time.time()) - age_s
    )
    answer = Client().post(
        "/webhooks/stripe",
        body or payload,
        content_type="application/json",
        headers={"Stripe-Signature": signature},
    )
    return answer.status_code


def pending_payment(organisation: Organisation, cents: int = 2_500) -> Payment:
    return Payment.objects.create(organisation=organisation, purpose="topup", amount_cents=cents)


def paid(organisation: Organisation, cents: int = 2_500) -> Payment:
    """A payment that arrived, by its event."""
    payment = pending_payment(organisation, cents)
    assert deliver(event("checkout.session.completed", session(payment))) == 200
    payment.refresh_from_db()
    return payment


def posted_nano(kind: str) -> int:
    return Account.objects.get(kind=kind).posted_nano
