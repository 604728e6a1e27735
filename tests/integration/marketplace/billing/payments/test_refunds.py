"""Refunds and disputes: out once, back once, never below zero, and what is owed stops calls."""

import threading
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace.billing.models import Account, Dispute, Payment, PaymentProfile, Refund, Transfer
from marketplace.billing.payments.books.transfers import debt_collect, owed_nano
from marketplace.billing.payments.follow_up import payments_pursue
from marketplace.billing.payments.recharge import recharge_begin
from marketplace.billing.payments.refunds import refund_request
from marketplace.billing.payments.staff import write_off_order
from marketplace.billing.proof.ledger import ledger_proof
from tests.examples import stored_examples
from tests.integration.marketplace.billing.payments.stripe_events import (
    NANO_PER_CENT,
    deliver,
    dispute,
    event,
    new_id,
    paid,
    posted_nano,
    refund,
)
from tests.integration.marketplace.billing.payments.test_recharge import set_rule
from tests.integration.marketplace.ledger import (
    USD,
    credit_grant,
    lease_close,
    lease_take,
    record,
    settle,
    transfer_reverse,
)
from tests.integration.marketplace.locks import meanwhile
from tests.integration.marketplace.shop import Shop


def spend(shop: Shop, nano: int) -> None:
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=nano,
        )
    )


@pytest.fixture
def emptied(shop: Shop) -> Shop:
    """Without the welcome credit: what is there was paid."""
    transfer_reverse(transfer=Transfer.objects.get(idem_key="welcome"))
    return shop


def test_refunds_in_part_take_their_parts(shop: Shop) -> None:
    payment = paid(shop.organisation)
    for cents in (1_000, 1_500):
        assert deliver(event("refund.created", refund(payment, cents))) == 200
    assert shop.customer_account.posted_nano == 10 * USD
    assert posted_nano("cash") == 0
    assert payment.refunds.count() == 2
    assert ledger_proof().gaps == ()


def test_a_refund_without_a_state_is_under_way(shop: Shop) -> None:
    payment = paid(shop.organisation)
    received = refund(payment, 500, status=None)
    assert deliver(event("refund.created", received)) == 200
    assert Refund.objects.get().state == "pending"


def test_a_refund_told_again_moves_nothing(shop: Shop) -> None:
    payment = paid(shop.organisation)
    about = refund(payment, 1_000, status="pending")
    for status, kind in (("pending", "created"), ("succeeded", "updated"), ("pending", "updated")):
        assert deliver(event(f"refund.{kind}", {**about, "status": status})) == 200
    assert Transfer.objects.filter(kind="refund").count() == 1
    assert Refund.objects.get().state == "succeeded"


@pytest.mark.parametrize("states", [["pending", "failed"], ["failed", "pending"], ["canceled"]])
def test_a_refund_that_failed_gives_the_credit_back(shop: Shop, states: list[str]) -> None:
    payment = paid(shop.organisation)
    about = refund(payment, 1_000)
    for status in states * 2:
        assert deliver(event("refund.updated", {**about, "status": status})) == 200
    assert shop.customer_account.posted_nano == 10 * USD + payment.amount_nano
    assert Refund.objects.get().state == "failed"
    assert ledger_proof().gaps == ()


def test_a_dispute_holds_its_amount_and_a_won_one_returns_it(shop: Shop) -> None:
    payment = paid(shop.organisation)
    about = dispute(payment, 2_500)
    deliver(event("charge.dispute.created", about))
    assert shop.customer_account.posted_nano == 10 * USD
    deliver(event("charge.dispute.funds_withdrawn", {**about, "status": "under_review"}))
    assert shop.customer_account.posted_nano == 10 * USD
    won = {**about, "status": "won"}
    deliver(event("charge.dispute.closed", won))
    deliver(event("charge.dispute.funds_reinstated", won))
    assert shop.customer_account.posted_nano == 10 * USD + payment.amount_nano
    assert Transfer.objects.filter(kind="dispute_return").count() == 1
    assert ledger_proof().gaps == ()


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        (["needs_response", "lost"], False),
        (["lost", "needs_response"], False),
        (["won", "needs_response"], True),
        (["warning_needs_response", "warning_closed"], True),
        (["warning_needs_response", "needs_response"], False),
        (["a_status_of_tomorrow"], False),
    ],
)
def test_a_dispute_ends_the_same_in_any_order(shop: Shop, states: list[str], kept: bool) -> None:
    payment = paid(shop.organisation)
    about = dispute(payment, 2_500)
    for status in states:
        assert deliver(event("charge.dispute.updated", {**about, "status": status})) == 200
    expected = payment.amount_nano if kept else 0
    assert shop.customer_account.posted_nano == 10 * USD + expected
    assert ledger_proof().gaps == ()


def test_what_was_spent_is_owed_and_stops_calls_until_it_is_paid(emptied: Shop) -> None:
    payment = paid(emptied.organisation)
    spend(emptied, 20 * USD)
    deliver(event("charge.dispute.created", dispute(payment, 2_500)))
    account = emptied.customer_account
    assert (account.posted_nano, owed_nano(emptied.organisation)) == (0, 20 * USD)
    assert posted_nano("cash") == 0
    # A grant alone does not open the door.
    credit_grant(organisation=emptied.organisation, amount_nano=USD)
    assert lease_take(account.pk, 0, USD) is None
    paid(emptied.organisation, 3_000)
    assert owed_nano(emptied.organisation) == 0
    assert emptied.customer_account.posted_nano == 11 * USD
    assert lease_take(account.pk, 1, USD) is not None
    assert ledger_proof().gaps == ()


def test_what_is_owed_is_not_taken_from_the_kept_card(emptied: Shop) -> None:
    now, organisation = timezone.now(), emptied.organisation
    PaymentProfile.objects.create(organisation=organisation, payment_method_id="pm_1")
    set_rule(emptied)
    payment = paid(organisation)
    spend(emptied, 20 * USD)
    deliver(event("charge.dispute.created", dispute(payment, 2_500)))
    assert recharge_begin(organisation_id=organisation.pk, now=now) is None
    paid(organisation, 3_000)
    assert recharge_begin(organisation_id=organisation.pk, now=now) is not None


def test_a_won_dispute_pays_what_it_had_left_owed(emptied: Shop) -> None:
    payment = paid(emptied.organisation)
    spend(emptied, 20 * USD)
    about = dispute(payment, 2_500)
    deliver(event("charge.dispute.created", about))
    deliver(event("charge.dispute.closed", {**about, "status": "won"}))
    assert owed_nano(emptied.organisation) == 0
    assert emptied.customer_account.posted_nano == 5 * USD
    assert ledger_proof().gaps == ()


def test_what_routers_hold_is_left_to_them_and_collected_when_it_comes_back(
    emptied: Shop, settings: Any
) -> None:
    payment = paid(emptied.organisation)
    lease = lease_take(emptied.customer_account.pk, 1, 10 * USD)
    assert lease is not None
    deliver(event("refund.created", refund(payment, 2_500)))
    account = emptied.customer_account
    assert (account.posted_nano, account.held_nano) == (10 * USD, 10 * USD)
    assert owed_nano(emptied.organisation) == 10 * USD
    lease_close(lease)
    settings.PAYMENTS_ON = False
    payments_pursue(now=timezone.now())
    assert (owed_nano(emptied.organisation), emptied.customer_account.posted_nano) == (0, 0)
    assert ledger_proof().gaps == ()


def test_a_debt_is_written_off_at_the_platforms_expense(emptied: Shop) -> None:
    payment = paid(emptied.organisation)
    spend(emptied, 25 * USD)
    deliver(event("refund.created", refund(payment, 2_500)))
    with pytest.raises(ValidationError, match="owes less"):
        write_off_order(
            organisation=emptied.organisation,
            amount_nano=26 * USD,
            reason="too much",
            ordered_by=emptied.owner,
        )
    made = write_off_order(
        organisation=emptied.organisation,
        amount_nano=25 * USD,
        reason="went bankrupt",
        ordered_by=emptied.owner,
    )
    assert (made.reason, made.ordered_by) == ("went bankrupt", emptied.owner)
    assert (owed_nano(emptied.organisation), posted_nano("expense")) == (0, -25 * USD)
    assert ledger_proof().gaps == ()


def test_a_receivable_never_stands_above_zero(emptied: Shop) -> None:
    from marketplace.billing.payments.books.transfers import debt_write_off

    with pytest.raises(DatabaseError, match="owner_fits_kind"), transaction.atomic():
        debt_write_off(organisation=emptied.organisation, amount_nano=1, idem_key="w")
    assert debt_collect(organisation=emptied.organisation) is None


@pytest.mark.django_db
@given(
    cents=st.integers(500, 100_000),
    spent=st.integers(0, 10**12),
    taken=st.lists(
        st.tuples(st.sampled_from(["refund", "dispute"]), st.integers(1, 100_000), st.booleans()),
        max_size=5,
    ),
)
@settings(max_examples=stored_examples(10), suppress_health_check=list(HealthCheck))
def test_no_mix_of_takings_breaks_the_books(
    cents: int, spent: int, taken: list[tuple[str, int, bool]]
) -> None:
    from tests.integration.marketplace.shop import open_shop

    with transaction.atomic():
        shop = open_shop()
        payment = paid(shop.organisation, cents)
        spend(shop, min(spent, shop.customer_account.posted_nano))
        available, out = shop.customer_account.posted_nano, 0
        for kind, amount, comes_back in taken:
            made = refund(payment, amount) if kind == "refund" else dispute(payment, amount)
            name = "refund.created" if kind == "refund" else "charge.dispute.created"
            assert deliver(event(name, made)) == 200
            if comes_back:
                back = {**made, "status": "failed" if kind == "refund" else "won"}
                name = "refund.failed" if kind == "refund" else "charge.dispute.closed"
                assert deliver(event(name, back)) == 200
            else:
                out += amount * NANO_PER_CENT
        account = shop.customer_account
        assert account.posted_nano == max(available - out, 0)
        assert owed_nano(shop.organisation) == max(out - available, 0)
        assert ledger_proof().gaps == ()
        transaction.set_rollback(True)


def test_two_refunds_and_spending_at_once_never_overdraw(committed_shop: Shop) -> None:
    shop = committed_shop
    transfer_reverse(transfer=Transfer.objects.get(idem_key="welcome"))
    payment = paid(shop.organisation)
    received = [event("refund.created", refund(payment, 1_250)) for _ in range(2)] * 2
    start = threading.Barrier(len(received) + 1)
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
    start.wait()
    lease = lease_take(shop.customer_account.pk, 0, 5 * USD)
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(received)
    account = shop.customer_account
    assert account.posted_nano >= account.held_nano
    assert account.posted_nano - owed_nano(shop.organisation) == 0
    assert (lease is None) == (account.held_nano == 0)
    assert ledger_proof().gaps == ()


def test_a_refund_takes_what_is_left_when_its_turn_comes(committed_shop: Shop) -> None:
    shop = committed_shop
    transfer_reverse(transfer=Transfer.objects.get(idem_key="welcome"))
    payment = paid(shop.organisation)
    received = event("refund.created", refund(payment, 2_500))
    own = Account.objects.filter(organisation=shop.organisation)
    with meanwhile(lambda: deliver(received), locked=own) as statuses:
        spend(shop, 20 * USD)
    assert statuses == [200]
    assert shop.customer_account.posted_nano == 0
    assert owed_nano(shop.organisation) == 20 * USD
    assert ledger_proof().gaps == ()


# --- ordered here ----------------------------------------------------------------------------


def order(payment: Payment, cents: int, shop: Shop) -> Refund:
    return refund_request(
        payment=payment, amount_cents=cents, reason="asked for it", requested_by=shop.owner
    )


def test_an_ordered_refund_goes_to_stripe_and_through_the_books(
    shop: Shop, stripe_url: str
) -> None:
    from tests.integration.marketplace.billing.payments.stripe.test_localstripe import (
        paid_at_stripe,
    )

    payment = paid_at_stripe(shop.organisation)
    made = order(payment, 1_000, shop)
    assert (made.state, made.requested_by) == ("succeeded", shop.owner)
    assert made.stripe_id is not None
    # Its event names it, and moves nothing more.
    about = refund(payment, 1_000, id=made.stripe_id)
    assert deliver(event("refund.updated", about)) == 200
    assert Refund.objects.count() == 1
    assert shop.customer_account.posted_nano == 10 * USD + payment.amount_nano - 10 * USD
    with pytest.raises(ValidationError, match=r"15\.00"):
        order(payment, 1_501, shop)
    assert ledger_proof().gaps == ()


def test_an_event_that_overtakes_the_answer_finds_the_order(shop: Shop) -> None:
    payment = paid(shop.organisation)
    made = order(payment, 1_000, shop)
    assert made.state == "requested"
    about = refund(payment, 1_000, metadata={"waypost_refund": str(made.pk)})
    assert deliver(event("refund.created", about)) == 200
    made.refresh_from_db()
    assert (made.state, made.stripe_id, made.reason) == ("succeeded", about["id"], "asked for it")


def test_a_refund_that_did_not_reach_stripe_is_asked_for_again(
    shop: Shop, stripe_server: str, settings: Any
) -> None:
    from tests.integration.marketplace.billing.payments.stripe.test_localstripe import (
        paid_at_stripe,
    )

    settings.STRIPE_API_URL = stripe_server
    payment = paid_at_stripe(shop.organisation)
    settings.STRIPE_API_URL = "http://127.0.0.1:9"
    made = order(payment, 2_500, shop)
    assert made.state == "requested"
    with pytest.raises(ValidationError, match=r"0\.00"):
        order(payment, 1, shop)
    settings.STRIPE_API_URL = stripe_server
    payments_pursue(now=timezone.now())
    made.refresh_from_db()
    assert made.state == "succeeded"
    assert ledger_proof().gaps == ()


def test_a_refund_that_stripe_refuses_failed(shop: Shop, stripe_url: str) -> None:
    payment = paid(shop.organisation)
    made = order(payment, 1_000, shop)
    assert made.state == "failed"
    assert made.failure
    assert shop.customer_account.posted_nano == 10 * USD + payment.amount_nano


def test_a_refund_before_its_payment_asks_stripe_whose_it_is(shop: Shop, stripe_url: str) -> None:
    from tests.integration.marketplace.billing.payments.stripe.test_localstripe import (
        intent_at_stripe,
    )

    payment = Payment.objects.create(
        organisation=shop.organisation, purpose="topup", amount_cents=2_500
    )
    intent_id = intent_at_stripe(payment)
    about = refund(payment, 500, payment_intent=intent_id)
    assert deliver(event("refund.created", about)) == 200
    payment.refresh_from_db()
    assert payment.state == "succeeded"
    assert shop.customer_account.posted_nano == 10 * USD + 20 * USD
    assert ledger_proof().gaps == ()


def test_a_refund_of_who_knows_what_is_sent_again_while_stripe_is_silent(shop: Shop) -> None:
    stray = Payment(organisation=shop.organisation, amount_cents=700, intent_id=new_id("pi"))
    assert deliver(event("refund.created", refund(stray, 700))) == 503
    assert deliver(event("charge.dispute.created", dispute(stray, 700))) == 503
    assert not Refund.objects.exists()
    assert not Dispute.objects.exists()
