"""Auto-recharge: when it is due, that it charges once, and that its cap holds."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import stripe
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from marketplace.accounts.models import Organisation
from marketplace.audit.models import AuditEntry
from marketplace.billing.models import AutoRecharge, Payment, PaymentProfile, Transfer
from marketplace.billing.payments import recharge
from marketplace.billing.payments.follow_up import payments_pursue
from marketplace.billing.payments.recharge import (
    FAILURES_MAX,
    UNANSWERED_MAX,
    Standing,
    auto_recharge_set,
    backoff,
    card_forget,
    recharge_begin,
    recharge_is_due,
    recharged_cents,
)
from marketplace.billing.payments.services import customer_ensure
from marketplace.billing.payments.stripe.api import client, recharge_create
from marketplace.billing.payments.stripe.record import intent_record
from marketplace.billing.payments.stripe.shapes import Intent
from marketplace.billing.payments.tasks import pursue_payments
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.billing.services import customer_account_open
from tests.integration.marketplace.billing.payments.stripe.test_localstripe import intent_at_stripe
from tests.integration.marketplace.billing.payments.stripe_events import (
    NANO_PER_CENT,
    deliver,
    event,
    intent,
    paid,
)
from tests.integration.marketplace.ledger import USD
from tests.integration.marketplace.locks import meanwhile
from tests.integration.marketplace.shop import Shop

GOOD, REFUSED, ASKS = "4242424242424242", "4000000000000341", "4000002500003155"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def rule(**changes: Any) -> AutoRecharge:
    fields = {"threshold_cents": 1_500, "amount_cents": 2_000, "cap_cents": 5_000, "enabled": True}
    return AutoRecharge(**{**fields, **changes})


def low(**changes: Any) -> Standing:
    fields = {"available_nano": 0, "owed_nano": 0, "charged_cents": 0, "is_in_flight": False}
    return Standing(**{**fields, **changes})


def set_rule(shop: Shop, **changes: Any) -> AutoRecharge:
    fields = {
        "enabled": True,
        "threshold_cents": 1_500,
        "amount_cents": 2_000,
        "cap_cents": 5_000,
    }
    return auto_recharge_set(
        organisation=shop.organisation, changed_by=shop.owner, **{**fields, **changes}
    )


@pytest.fixture
def kept_card(stripe_url: str) -> Callable[..., None]:
    """Keep a card of the tests at Stripe, by its number."""

    def keep(shop: Shop, number: str) -> None:
        customer = customer_ensure(organisation=shop.organisation, email="owner@example.com")
        card: Any = {"number": number, "exp_month": 12, "exp_year": 2030, "cvc": "123"}
        method = client().v1.payment_methods.create({"type": "card", "card": card})
        client().v1.payment_methods.attach(method.id, {"customer": customer})
        PaymentProfile.objects.filter(customer_id=customer).update(payment_method_id=method.id)

    return keep


def intents() -> list[stripe.PaymentIntent]:
    return client().v1.payment_intents.list().data


# --- when --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "standing", "due"),
    [
        ({}, {}, True),
        ({"enabled": False}, {}, False),
        ({}, {"available_nano": 1_500 * NANO_PER_CENT - 1}, True),
        ({}, {"available_nano": 1_500 * NANO_PER_CENT}, False),
        ({}, {"is_in_flight": True}, False),
        ({}, {"owed_nano": 1}, False),
        ({}, {"charged_cents": 3_000}, True),
        ({}, {"charged_cents": 3_001}, False),
        ({"retry_at": NOW}, {}, True),
        ({"retry_at": NOW + timedelta(seconds=1)}, {}, False),
    ],
)
def test_when_it_is_due(changes: dict[str, Any], standing: dict[str, Any], due: bool) -> None:
    assert recharge_is_due(rule(**changes), low(**standing), NOW) is due


@given(
    amount=st.integers(1, 10_000),
    cap=st.integers(0, 100_000),
    rounds=st.integers(0, 50),
)
def test_no_run_of_recharges_exceeds_the_cap(amount: int, cap: int, rounds: int) -> None:
    charged = 0
    for _ in range(rounds):
        if recharge_is_due(
            rule(amount_cents=amount, cap_cents=cap), low(charged_cents=charged), NOW
        ):
            charged += amount
    assert charged <= cap
    assert charged == min(rounds, cap // amount) * amount


def test_the_wait_grows() -> None:
    waits = [backoff(failures) for failures in range(1, FAILURES_MAX)]
    assert waits == [timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4)]


# --- at Stripe ---------------------------------------------------------------------------------


def test_low_credit_is_recharged_once_and_then_is_not_low(
    shop: Shop, kept_card: Callable[..., None]
) -> None:
    kept_card(shop, GOOD)
    set_rule(shop)
    assert pursue_payments() == 1
    assert pursue_payments() == 0
    (made,) = intents()
    payment = Payment.objects.get()
    assert (payment.state, payment.intent_id, payment.purpose) == ("succeeded", made.id, "recharge")
    assert shop.customer_account.posted_nano == 30 * USD
    # The event of the same payment comes later, and adds nothing.
    assert deliver(event("payment_intent.succeeded", intent(payment))) == 200
    assert Transfer.objects.filter(kind="topup").count() == 1
    assert ledger_proof().gaps == ()


def test_the_months_cap_stops_it(shop: Shop, kept_card: Callable[..., None]) -> None:
    kept_card(shop, GOOD)
    set_rule(shop, threshold_cents=1_000_000)
    for _ in range(4):
        pursue_payments()
    assert Payment.objects.filter(state="succeeded").count() == 2
    assert len(intents()) == 2
    # A new month is a new cap.
    Payment.objects.update(created_at=timezone.now() - timedelta(days=32))
    assert pursue_payments() == 1


@pytest.mark.parametrize("number", [REFUSED, ASKS], ids=["refused", "asks its owner"])
def test_a_refused_card_is_tried_later_and_then_not_any_more(
    shop: Shop, kept_card: Callable[..., None], number: str
) -> None:
    kept_card(shop, number)
    set_rule(shop)
    now = timezone.now()
    for failures in range(1, FAILURES_MAX + 1):
        payments_pursue(now=now)
        payments_pursue(now=now)
        found = AutoRecharge.objects.get()
        assert found.failures == failures
        assert found.failure
        assert found.retry_at == now + backoff(failures)
        now = found.retry_at
    assert not found.enabled
    payments_pursue(now=now + timedelta(days=1))
    assert set(Payment.objects.values_list("state", flat=True)) == {"failed"}
    assert Payment.objects.count() == FAILURES_MAX
    assert shop.customer_account.posted_nano == 10 * USD


def test_a_failure_told_by_answer_and_event_counts_once(
    shop: Shop, kept_card: Callable[..., None]
) -> None:
    kept_card(shop, REFUSED)
    set_rule(shop)
    pursue_payments()
    payment = Payment.objects.get()
    refused = intent(payment, status="requires_payment_method")
    assert deliver(event("payment_intent.payment_failed", refused)) == 200
    assert AutoRecharge.objects.get().failures == 1


def test_a_payment_that_arrives_forgives_refusals(
    shop: Shop, kept_card: Callable[..., None]
) -> None:
    kept_card(shop, REFUSED)
    set_rule(shop)
    pursue_payments()
    payment = paid(shop.organisation)
    assert deliver(event("payment_intent.succeeded", intent(payment))) == 200
    found = AutoRecharge.objects.get()
    assert (found.failures, found.retry_at) == (0, None)


def test_without_an_answer_the_same_payment_is_asked_for_again(
    shop: Shop, kept_card: Callable[..., None], stripe_url: str, settings: Any
) -> None:
    kept_card(shop, GOOD)
    set_rule(shop)
    settings.STRIPE_API_URL = "http://127.0.0.1:9"
    assert pursue_payments() == 0
    assert pursue_payments() == 0
    payment = Payment.objects.get()
    assert payment.state == "pending"
    settings.STRIPE_API_URL = stripe_url
    assert pursue_payments() == 1
    payment.refresh_from_db()
    assert payment.state == "succeeded"
    assert len(intents()) == 1


def test_a_charge_asked_for_again_is_of_the_card_that_it_began_with(
    shop: Shop, kept_card: Callable[..., None]
) -> None:
    kept_card(shop, GOOD)
    first = PaymentProfile.objects.get().payment_method_id
    set_rule(shop)
    pursue_payments()
    payment = Payment.objects.get()
    kept_card(shop, REFUSED)
    made = recharge_create(payment, customer_id=PaymentProfile.objects.get().customer_id or "")
    assert (made.id, made.payment_method) == (payment.intent_id, first)


def test_a_forgotten_card_is_charged_no_more_and_gone_at_stripe(
    shop: Shop, kept_card: Callable[..., None]
) -> None:
    kept_card(shop, GOOD)
    set_rule(shop)
    kept = PaymentProfile.objects.get().payment_method_id
    for _ in range(2):
        card_forget(organisation=shop.organisation)
    assert client().v1.payment_methods.retrieve(kept).customer is None
    assert not AutoRecharge.objects.get().enabled
    written = AuditEntry.objects.filter(content_type__model="autorecharge", action=1)
    assert [entry.changes for entry in written] == [{"enabled": [True, False]}]
    assert pursue_payments() == 0


def test_what_stays_unanswered_for_long_ends_and_turns_it_off(
    shop: Shop, kept_card: Callable[..., None], settings: Any
) -> None:
    kept_card(shop, GOOD)
    set_rule(shop)
    settings.STRIPE_API_URL = "http://127.0.0.1:9"
    pursue_payments()
    payment = Payment.objects.get()
    payments_pursue(now=payment.created_at + UNANSWERED_MAX + timedelta(seconds=1))
    payment.refresh_from_db()
    assert payment.state == "expired"
    assert not AutoRecharge.objects.get().enabled
    # It may be charged yet, so the cap counts it, even where it is turned on again.
    set_rule(shop, cap_cents=3_999)
    assert recharge_begin(organisation_id=shop.organisation.pk, now=timezone.now()) is None
    # Stripe had charged it after all: its event is believed.
    assert deliver(event("payment_intent.succeeded", intent(payment))) == 200
    assert shop.customer_account.posted_nano == 30 * USD


def test_a_charge_that_takes_days_is_waited_for(shop: Shop, kept_card: Callable[..., None]) -> None:
    kept_card(shop, GOOD)
    set_rule(shop)
    payment = recharge_begin(organisation_id=shop.organisation.pk, now=timezone.now())
    assert payment is not None
    made = recharge_create(payment, customer_id=PaymentProfile.objects.get().customer_id or "")
    # As a bank's debit stands meanwhile.
    received = intent(payment, id=made.id, status="processing")
    intent_record(intent=msgspec.convert(received, Intent), now=timezone.now())
    payment.refresh_from_db()
    assert (payment.state, payment.intent_id) == ("pending", made.id)
    payments_pursue(now=payment.created_at + UNANSWERED_MAX * 3)
    payment.refresh_from_db()
    assert payment.state == "succeeded"
    assert len(intents()) == 1
    assert AutoRecharge.objects.get().enabled


def test_a_charge_that_does_not_fit_its_payment_holds_up_nobody_else(
    shop: Shop, kept_card: Callable[..., None]
) -> None:
    kept_card(shop, GOOD)
    set_rule(shop)
    other = Organisation.objects.create(slug="other", name="Other")
    customer_account_open(organisation=other)
    stuck = Payment.objects.create(organisation=other, purpose="recharge", amount_cents=1_000)
    received = intent_at_stripe(stuck)
    Payment.objects.filter(pk=stuck.pk).update(intent_id=received, amount_cents=2_000)
    pursue_payments()
    stuck.refresh_from_db()
    assert stuck.state == "pending"
    assert Payment.objects.get(organisation=shop.organisation).state == "succeeded"
    assert ledger_proof().gaps == ()


def test_two_rounds_at_the_same_time_charge_once(
    committed_shop: Shop, kept_card: Callable[..., None]
) -> None:
    kept_card(committed_shop, GOOD)
    set_rule(committed_shop)
    start = threading.Barrier(4)

    def pursue() -> None:
        try:
            start.wait()
            pursue_payments()
        finally:
            connection.close()

    threads = [threading.Thread(target=pursue) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One may have found the key in use; the next round finds its payment made.
    pursue_payments()
    assert len(intents()) == 1
    assert committed_shop.customer_account.posted_nano == 30 * USD
    assert ledger_proof().gaps == ()


def test_a_recharge_that_ends_while_another_is_considered_is_not_charged_again(
    shop: Shop, kept_card: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_card(shop, GOOD)
    set_rule(shop)
    first = recharge_begin(organisation_id=shop.organisation.pk, now=timezone.now())
    assert first is not None

    def ends_then_counts(organisation_id: int, now: datetime) -> int:
        # Credit was read before this, as it was without the first one's.
        made = recharge_create(first, customer_id=PaymentProfile.objects.get().customer_id or "")
        intent_record(intent=made, now=now)
        return recharged_cents(organisation_id, now)

    monkeypatch.setattr(recharge, "recharged_cents", ends_then_counts)
    assert recharge_begin(organisation_id=shop.organisation.pk, now=timezone.now()) is None
    assert Payment.objects.get().state == "succeeded"


def test_a_second_worker_sees_what_the_first_has_charged(committed_shop: Shop) -> None:
    organisation = committed_shop.organisation
    PaymentProfile.objects.create(
        organisation=organisation, customer_id="cus_1", payment_method_id="pm_1"
    )
    set_rule(committed_shop, cap_cents=2_000)

    def begin() -> Payment | None:
        return recharge_begin(organisation_id=organisation.pk, now=timezone.now())

    with meanwhile(begin, locked=AutoRecharge.objects.all()) as begun:
        # The first worker's, paid already: in flight no more, and the whole of the cap.
        Payment.objects.create(
            organisation=organisation, purpose="recharge", amount_cents=2_000, state="succeeded"
        )
    assert begun == [None]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "Top up once"),
        ({"amount_cents": 1}, "between"),
        ({"cap_cents": 1_999}, "cap"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(shop: Shop, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        set_rule(shop, **changes)
    assert set_rule(shop, enabled=False).enabled is False
