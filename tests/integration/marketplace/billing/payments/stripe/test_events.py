"""Stripe's events: who may tell us, and that money moves once whatever is told how often."""

import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from marketplace.billing.models import Payment, StripeEvent, Transfer
from marketplace.billing.proof.ledger import ledger_proof
from tests.integration.marketplace.billing.payments.stripe_events import (
    NANO_PER_CENT,
    deliver,
    event,
    intent,
    paid,
    pending_payment,
    posted_nano,
    refund,
    session,
)
from tests.integration.marketplace.ledger import USD, transfer_reverse
from tests.integration.marketplace.shop import Shop

TOPUP_NANO = 2_500 * NANO_PER_CENT


def test_a_payment_becomes_credit_when_stripe_says_so(shop: Shop) -> None:
    payment = paid(shop.organisation)
    assert payment.state == "succeeded"
    assert shop.customer_account.posted_nano == 10 * USD + TOPUP_NANO
    assert posted_nano("cash") == -TOPUP_NANO
    transfer = Transfer.objects.get(kind="topup")
    assert transfer.idem_key == f"topup:{payment.intent_id}"
    assert ledger_proof().gaps == ()


def test_an_event_counts_once_and_so_does_its_payment(shop: Shop) -> None:
    payment = pending_payment(shop.organisation)
    received = event("checkout.session.completed", session(payment))
    assert [deliver(received) for _ in range(3)] == [200] * 3
    payment.refresh_from_db()
    # Another event about the same payment, as Stripe sends for each.
    assert deliver(event("payment_intent.succeeded", intent(payment))) == 200
    assert Transfer.objects.filter(kind="topup").count() == 1
    assert StripeEvent.objects.count() == 2


@pytest.mark.parametrize("same_event", [True, False], ids=["one event", "two events"])
def test_deliveries_at_the_same_time_move_money_once(
    committed_shop: Shop, same_event: bool
) -> None:
    payment = pending_payment(committed_shop.organisation)
    intent_id = "pi_raced"
    completed = event("checkout.session.completed", session(payment, payment_intent=intent_id))
    succeeded = event("payment_intent.succeeded", intent(payment, id=intent_id))
    received = [completed, completed if same_event else succeeded] * 3
    start = threading.Barrier(len(received))
    statuses: list[int] = []

    def post(each: dict[str, Any]) -> None:
        try:
            start.wait()
            statuses.append(deliver(each))
        finally:
            connection.close()

    threads = [threading.Thread(target=post, args=(each,)) for each in received]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(received)
    assert Transfer.objects.filter(kind="topup").count() == 1
    assert committed_shop.customer_account.posted_nano == 10 * USD + TOPUP_NANO
    assert ledger_proof().gaps == ()


@pytest.mark.parametrize(
    "signing",
    [
        {"secret": "whsec_another"},
        {"age_s": 3_600},
        {"body": '{"id": "evt_x", "type": "payment_intent.succeeded"}'},
    ],
    ids=["another secret", "too old", "another body"],
)
def test_what_stripe_did_not_sign_just_now_is_refused(shop: Shop, signing: dict[str, Any]) -> None:
    payment = pending_payment(shop.organisation)
    assert deliver(event("checkout.session.completed", session(payment)), **signing) == 400
    payment.refresh_from_db()
    assert payment.state == "pending"
    assert not StripeEvent.objects.exists()


@pytest.mark.parametrize("header", ["", "nonsense", "t=1,v0=x", "t=x,v1=y"])
def test_a_signature_of_another_form_is_refused(shop: Shop, header: str) -> None:
    headers = {"Stripe-Signature": header}
    answer = Client().post("/webhooks/stripe", "{}", "application/json", headers=headers)
    assert answer.status_code == 400
    parts = Client().post("/webhooks/stripe", {"id": "evt_1"}, headers=headers)
    assert parts.status_code == 400


@pytest.mark.parametrize("told", [{"id": "evt_1"}, [], {"id": 7, "type": "x"}])
def test_what_is_signed_and_no_event_is_refused(shop: Shop, told: Any) -> None:
    assert deliver(told) == 400


def test_a_body_beyond_the_bound_is_not_read(shop: Shop) -> None:
    assert deliver(event("x", {"padding": "x" * 300_000})) == 413


def test_events_of_no_interest_are_acknowledged(shop: Shop) -> None:
    assert deliver(event("customer.created", {"id": "cus_1"})) == 200
    assert StripeEvent.objects.get().verdict == "ignored"


def test_a_payment_that_is_not_ours_is_acknowledged_and_on_record(
    shop: Shop, stripe_url: str
) -> None:
    stray = Payment(organisation=shop.organisation, amount_cents=700)
    for received in (
        event("checkout.session.completed", session(stray)),
        event("checkout.session.completed", session(stray, client_reference_id="theirs")),
        event("payment_intent.succeeded", intent(stray, metadata={})),
        event("refund.created", refund(stray, 700, payment_intent="pi_theirs")),
        event("refund.created", refund(stray, 700, payment_intent=None)),
    ):
        assert deliver(received) == 200
    assert set(StripeEvent.objects.values_list("verdict", flat=True)) == {"unknown"}
    assert shop.customer_account.posted_nano == 10 * USD


def test_an_unpaid_session_waits_for_its_money(shop: Shop) -> None:
    payment = pending_payment(shop.organisation)
    about = session(payment, payment_status="unpaid")
    assert deliver(event("checkout.session.completed", about)) == 200
    payment.refresh_from_db()
    assert payment.state == "pending"
    about["payment_status"] = "paid"
    assert deliver(event("checkout.session.async_payment_succeeded", about)) == 200
    payment.refresh_from_db()
    assert payment.state == "succeeded"


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("checkout.session.expired", "expired"),
        ("checkout.session.async_payment_failed", "failed"),
    ],
)
def test_money_that_came_stays_whatever_is_told_in_which_order(
    shop: Shop, kind: str, state: str
) -> None:
    payment = pending_payment(shop.organisation)
    about = session(payment)
    ended = {**about, "payment_status": "unpaid", "status": state}
    assert deliver(event(kind, ended)) == 200
    payment.refresh_from_db()
    assert payment.state == state
    assert deliver(event("checkout.session.completed", about)) == 200
    assert deliver(event(kind, ended)) == 200
    payment.refresh_from_db()
    assert payment.state == "succeeded"
    assert shop.customer_account.posted_nano == 10 * USD + TOPUP_NANO


def test_a_card_refused_in_checkout_leaves_the_payment_open(shop: Shop) -> None:
    payment = pending_payment(shop.organisation)
    refused = intent(payment, status="requires_payment_method")
    assert deliver(event("payment_intent.payment_failed", refused)) == 200
    payment.refresh_from_db()
    assert payment.state == "pending"


@pytest.mark.parametrize(
    "wrong", [{"amount_total": 2_499}, {"currency": "eur"}, {"payment_intent": None}]
)
def test_another_amount_than_asked_for_is_not_booked(shop: Shop, wrong: dict[str, Any]) -> None:
    payment = pending_payment(shop.organisation)
    assert deliver(event("checkout.session.completed", session(payment, **wrong))) == 409
    payment.refresh_from_db()
    assert payment.state == "pending"
    # Not kept as seen: Stripe sends it again, and somebody looks.
    assert not StripeEvent.objects.exists()


def test_without_keys_there_is_no_endpoint(shop: Shop, settings: Any) -> None:
    settings.PAYMENTS_ON = False
    assert deliver(event("x", {})) == 404


def test_the_proof_finds_a_payment_without_its_money(shop: Shop) -> None:
    payment = pending_payment(shop.organisation)
    Payment.objects.filter(pk=payment.pk).update(state="succeeded")
    assert f"payment {payment.pk} is succeeded over 2500 cents" in ledger_proof().gaps[0]


def test_the_proof_finds_money_without_a_payment(shop: Shop) -> None:
    payment = paid(shop.organisation)
    transfer_reverse(transfer=Transfer.objects.get(kind="topup"))
    (gap,) = ledger_proof().gaps
    assert "moved cash for no payment" in gap
    Payment.objects.filter(pk=payment.pk).update(state="failed")
    assert len(ledger_proof().gaps) == 2
