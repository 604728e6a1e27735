"""Against a fake Stripe that runs: from the form to the credit, and what the cards of tests do."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from marketplace.accounts.models import Organisation
from marketplace.billing.models import Payment, PaymentProfile
from marketplace.billing.payments.follow_up import SILENCE_MAX, payments_pursue
from marketplace.billing.payments.services import customer_ensure
from marketplace.billing.payments.stripe import api as stripe_api
from marketplace.billing.payments.stripe.api import client
from marketplace.billing.payments.stripe.record import intent_record
from marketplace.billing.payments.stripe.shapes import Intent
from marketplace.billing.proof.ledger import ledger_proof
from tests.embedded import wait_until
from tests.integration.marketplace.billing.payments.stripe_events import SECRET
from tests.integration.marketplace.ledger import USD
from tests.integration.marketplace.shop import Shop, signed_in
from tests.patience import PATIENCE_S


def intent_at_stripe(payment: Payment, card: str = "pm_card_visa") -> str:
    made = client().v1.payment_intents.create(
        {
            "amount": payment.amount_cents,
            "currency": "usd",
            "payment_method": card,
            "confirm": True,
            "metadata": {"waypost_payment": str(payment.pk)},
        }
    )
    return made.id


def paid_at_stripe(organisation: Organisation, cents: int = 2_500) -> Payment:
    """A payment that Stripe knows too."""
    payment = Payment.objects.create(organisation=organisation, purpose="topup", amount_cents=cents)
    found = client().v1.payment_intents.retrieve(intent_at_stripe(payment))
    intent_record(intent=Intent.of(found), now=timezone.now())
    payment.refresh_from_db()
    return payment


@pytest.fixture
def delivered(stripe_url: str) -> Iterator[None]:
    """The fake Stripe delivers to a server of this test's own."""
    server = LiveServer("127.0.0.1")
    httpx.post(
        f"{stripe_url}/_config/webhooks/ours",
        json={"url": f"{server.url}/webhooks/stripe", "secret": SECRET},
        trust_env=False,
    ).raise_for_status()
    yield
    server.stop()


def test_from_the_form_to_the_credit(
    committed_shop: Shop, delivered: None, stripe_url: str
) -> None:
    shop = committed_shop
    browser = signed_in(shop.owner)
    sent = browser.post("/billing/topup", {"amount": "25.00", "save_card": "on"})
    assert sent.status_code == 302
    checkout_url = sent.headers["Location"]
    assert checkout_url.startswith(f"{stripe_url}/pay/cs_test_")
    payment = Payment.objects.get()
    page = f"/billing/payments/{payment.pk}"
    assert "has not confirmed" in browser.get(page).content.decode()

    session_id = checkout_url.rsplit("/", 1)[1]
    assert payment.session_id == session_id
    httpx.post(
        f"{stripe_url}/_config/checkout/{session_id}/pay",
        json={"payment_method": "pm_card_visa"},
        trust_env=False,
    ).raise_for_status()

    def arrived() -> bool:
        return shop.customer_account.posted_nano == 35 * USD

    wait_until(arrived, PATIENCE_S, "the webhook did not arrive")
    assert "is in your account" in browser.get(page).content.decode()
    saved = PaymentProfile.objects.filter(payment_method_id__startswith="pm_").exists
    wait_until(saved, PATIENCE_S, "the card was not kept")
    assert ledger_proof().gaps == ()


def test_a_payment_of_which_no_event_came_is_asked_about(shop: Shop, stripe_url: str) -> None:
    browser = signed_in(shop.owner)
    sessions = [
        browser.post("/billing/topup", {"amount": "25"}).headers["Location"].rsplit("/", 1)[1]
        for _ in range(2)
    ]
    # Nobody listens for the event of this one.
    httpx.post(
        f"{stripe_url}/_config/checkout/{sessions[0]}/pay",
        json={"payment_method": "pm_card_visa"},
        trust_env=False,
    ).raise_for_status()
    now = timezone.now()
    payments_pursue(now=now)
    assert set(Payment.objects.values_list("state", flat=True)) == {"pending"}
    payments_pursue(now=now + SILENCE_MAX + timedelta(seconds=1))
    paid, waiting = (Payment.objects.get(session_id=session_id) for session_id in sessions)
    assert (paid.state, waiting.state) == ("succeeded", "pending")
    assert shop.customer_account.posted_nano == 35 * USD
    # Not asked again within the hour.
    asked_at = waiting.asked_at
    payments_pursue(now=now + SILENCE_MAX + timedelta(minutes=30))
    waiting.refresh_from_db()
    assert waiting.asked_at == asked_at
    assert ledger_proof().gaps == ()


def test_a_customer_is_made_once_at_stripe(shop: Shop, stripe_url: str) -> None:
    browser = signed_in(shop.owner)
    for _ in range(2):
        assert browser.post("/billing/topup", {"amount": "5"}).status_code == 302
    customers = client().v1.customers.list().data
    assert [customer.name for customer in customers] == ["Acme"]
    assert Payment.objects.count() == 2


def test_two_who_pay_first_at_once_share_a_customer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_meanwhile(profile: PaymentProfile, email: str) -> str:
        if email == "first@example.com":
            customer_ensure(organisation=shop.organisation, email="second@example.com")
        return f"cus_{email}"

    monkeypatch.setattr(stripe_api, "customer_create", made_meanwhile)
    # The second one's Checkout may have kept a card with it already.
    found = customer_ensure(organisation=shop.organisation, email="first@example.com")
    assert found == PaymentProfile.objects.get().customer_id == "cus_second@example.com"


def test_asking_again_with_the_same_key_is_the_same_payment(stripe_url: str) -> None:
    key = str(uuid.uuid4())
    asked: Any = {"amount": 500, "currency": "usd"}
    made = [
        client().v1.payment_intents.create(asked, {"idempotency_key": key}).id for _ in range(2)
    ]
    assert len(set(made)) == 1
