"""Our calls to Stripe, each with an idempotency key from the row that it is for."""

import logging
from functools import cache

import stripe
from django.conf import settings
from django.utils.translation import gettext as _

from marketplace.billing.payments.books.money import CURRENCY
from marketplace.billing.payments.models import Payment, PaymentProfile, Refund
from marketplace.billing.payments.stripe.shapes import Intent, Session, StripeRefund

log = logging.getLogger(__name__)

TIMEOUT_S = 10
RETRIES = 1
PAYMENT_KEY = "waypost_payment"
REFUND_KEY = "waypost_refund"
"""The metadata key that marks a Stripe object as ours."""


@cache
def _client(secret_key: str, api_url: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_url},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
    )


def client() -> stripe.StripeClient:
    """A Stripe client with this installation's key; payments must be on."""
    return _client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_URL)


def customer_create(profile: PaymentProfile, email: str) -> str:
    """Create a customer and return its id; the same id if the same address asks again."""
    made = client().v1.customers.create(
        {
            "name": profile.organisation.name,
            "email": email,
            "metadata": {"waypost_organisation": profile.organisation.slug},
        },
        {"idempotency_key": f"customer:{profile.pk}:{email}"},
    )
    return str(made.id)


def checkout_create(
    payment: Payment, *, customer_id: str, save_card: bool, return_url: str, cancel_url: str
) -> tuple[str, str]:
    """Create a Checkout Session; returns its id and the URL where the person pays."""
    intent: stripe.params.checkout.SessionCreateParamsPaymentIntentData = {
        "metadata": {PAYMENT_KEY: str(payment.pk)}
    }
    if save_card:
        intent["setup_future_usage"] = "off_session"
    session = client().v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": str(payment.pk),
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": CURRENCY,
                        "unit_amount": payment.amount_cents,
                        "product_data": {"name": _("Waypost credit")},
                    },
                }
            ],
            "payment_intent_data": intent,
            # The ledger is in USD, so Stripe must not convert currencies.
            "adaptive_pricing": {"enabled": False},
            "success_url": return_url,
            "cancel_url": cancel_url,
        },
        {"idempotency_key": f"checkout:{payment.pk}"},
    )
    return session.id, session.url or ""


def card_detach(payment_method_id: str) -> None:
    """Detach a kept card from its customer; succeeds if it is already gone."""
    try:
        client().v1.payment_methods.detach(payment_method_id)
    except stripe.InvalidRequestError as error:
        log.info("card %s is gone already: %s", payment_method_id, error)


def session_retrieve(session_id: str) -> Session:
    """Fetch a Checkout Session."""
    return Session.of(client().v1.checkout.sessions.retrieve(session_id))


def recharge_create(payment: Payment, *, customer_id: str) -> Intent:
    """Charge the kept card off-session. A refused card raises ``stripe.CardError``."""
    intent = client().v1.payment_intents.create(
        {
            "amount": payment.amount_cents,
            "currency": CURRENCY,
            "customer": customer_id,
            "payment_method": payment.payment_method_id,
            "off_session": True,
            "confirm": True,
            "metadata": {PAYMENT_KEY: str(payment.pk)},
        },
        {"idempotency_key": f"recharge:{payment.pk}"},
    )
    return Intent.of(intent)


def intent_retrieve(intent_id: str) -> Intent | None:
    """Fetch a payment; None if this Stripe account has none with that id."""
    try:
        return Intent.of(client().v1.payment_intents.retrieve(intent_id))
    except stripe.InvalidRequestError as error:
        if error.http_status == 404:
            return None
        raise


def refund_create(refund: Refund) -> StripeRefund:
    """Request a refund; repeating the request returns the same one."""
    made = client().v1.refunds.create(
        {
            "payment_intent": refund.payment.intent_id or "",
            "amount": refund.amount_cents,
            "metadata": {REFUND_KEY: str(refund.pk)},
        },
        {"idempotency_key": f"refund:{refund.pk}"},
    )
    return StripeRefund.of(made)
