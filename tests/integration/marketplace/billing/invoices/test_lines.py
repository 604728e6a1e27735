"""What an invoice and a payout statement say, and that they are the ledger's."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace.billing.invoices.documents import statement_csv
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import statements_issue
from marketplace.billing.models import Account, AccountKind
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.catalog.prices import price_of
from marketplace.catalog.services import offer_publish
from router.domain.pricing import Price, PriceClass, Usage, charge_nano
from tests.examples import stored_examples
from tests.integration.marketplace.billing.invoices.statements import (
    THIS_MONTH,
    issue,
    offer_of,
    settle_call,
    topped_up,
)
from tests.integration.marketplace.ledger import (
    USD,
    intrude,
    post_at,
    record,
    settle,
    transfer_reverse,
)
from tests.integration.marketplace.shop import Shop, open_shop

PLENTY = 10**14


def test_an_invoice_says_what_moved_and_what_for(shop: Shop, month_over: Month) -> None:
    topped_up(shop, 5 * USD, "pi_1")
    tokens = offer_of(shop, prompt_nano_per_million=20_000_000, completion_nano_per_million=10**9)
    seconds = offer_of(shop, second_nano=1_500_000, request_nano=10)
    spent = [
        settle_call(shop, tokens, prompt_tokens=1_000, completion_tokens=7),
        settle_call(shop, tokens, prompt_tokens=11, completion_tokens=3),
        settle_call(shop, seconds, hardware_ms=2_345),
    ]
    invoice = issue(shop.customer_account, month_over)
    assert invoice.number == f"WI-{month_over.next.year}-000001"
    assert (invoice.holder, invoice.issuer) == ("Acme", "Waypost")
    assert (invoice.opening_nano, invoice.closing_nano) == (0, 15 * USD - sum(spent))
    grant, topup, by_tokens, by_seconds = invoice.entries
    assert (grant.kind, grant.amount_nano, grant.reference) == ("grant", 10 * USD, "")
    assert (topup.kind, topup.amount_nano, topup.reference) == ("topup", 5 * USD, "pi_1")
    assert (by_tokens.model, by_tokens.provider, by_tokens.price_id, by_tokens.calls) == (
        "author/slug",
        "northyard",
        tokens.pk,
        2,
    )
    assert by_tokens.amount_nano == -(spent[0] + spent[1])
    assert [(item.item, item.quantity) for item in by_tokens.items] == [
        ("prompt_tokens", 1_011),
        ("completion_tokens", 10),
    ]
    assert [(item.item, item.quantity) for item in by_seconds.items] == [
        ("requests", 1),
        ("hardware_ms", 2_345),
    ]
    assert by_seconds.amount_nano == -spent[2] == -(3_517_500 + 10)
    # The payment itself is not there: only its transfer was made.
    assert [gap for gap in ledger_proof().gaps if "no payment" not in gap] == []


def test_a_payout_statement_says_what_was_earned_and_kept(shop: Shop, month_over: Month) -> None:
    charge = settle_call(shop, offer_of(shop, request_nano=1_005))
    statement = issue(shop.provider_account, month_over)
    assert statement.number == f"WP-{month_over.next.year}-000001"
    (line,) = statement.entries
    assert (line.amount_nano, line.commission_nano) == (905, 100)
    assert line.amount_nano + line.commission_nano == charge
    assert statement.closing_nano == shop.provider_account.posted_nano == 905


def test_a_reversal_is_on_the_invoice(shop: Shop, month_over: Month) -> None:
    topup = topped_up(shop, USD, "p")
    transfer_reverse(transfer=topup)
    *_, back = issue(shop.customer_account, month_over).entries
    assert (back.kind, back.amount_nano, back.reference) == ("reversal", -USD, str(topup.pk))


def test_a_charge_whose_usage_event_is_gone_is_still_invoiced(
    shop: Shop, month_over: Month
) -> None:
    charge = settle_call(shop, offer_of(shop, request_nano=77))
    intrude("DELETE FROM usage_event")
    *_, line = issue(shop.customer_account, month_over).entries
    assert (line.model, line.calls, line.amount_nano, line.items) == ("", 1, -charge, ())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("closing_nano = closing_nano + 1", "its account's transfers"),
        ("opening_nano = 1, closing_nano = closing_nano + 1", "its account's transfers"),
        ("lines = '[]'", "its lines sum to 0"),
        ("sequence = 2", "count 1, their last is 2"),
    ],
)
def test_the_proof_finds_an_invoice_that_is_not_the_ledgers(
    shop: Shop, month_over: Month, change: str, found: str
) -> None:
    issue(shop.customer_account, month_over)
    assert ledger_proof().gaps == ()
    intrude(f"UPDATE billing_statement SET {change}")
    assert any(found in gap for gap in ledger_proof().gaps)


moves = st.lists(
    st.tuples(
        st.integers(0, 99),  # which day
        st.integers(0, 86_399_999),  # which millisecond of it
        st.sampled_from(["grant", "topup", "charge_provider", "reversal"]),
        st.integers(1, 10**12),
    ),
    max_size=12,
)


@pytest.mark.django_db
@settings(max_examples=stored_examples(10), suppress_health_check=list(HealthCheck))
@given(moves)
def test_any_movements_are_invoiced_whole_and_each_month_goes_on_from_the_last(moved: Any) -> None:
    with transaction.atomic():
        _invoice_all(open_shop(), moved)
        transaction.set_rollback(True)


def _invoice_all(shop: Shop, moved: list[tuple[int, int, str, int]]) -> None:
    intrude("DELETE FROM billing_transfer")
    intrude("UPDATE billing_account SET posted_nano = 0")
    first = Month(2026, 6)
    customer, provider = shop.customer_account, shop.provider_account
    cash = Account.objects.get(kind=AccountKind.CASH)
    post_at(cash.pk, customer.pk, PLENTY, first.start - timedelta(days=1), kind="topup")
    for day, millisecond, kind, amount in moved:
        at = first.start + timedelta(days=day, milliseconds=millisecond)
        pays = {"grant": (cash, customer), "topup": (cash, customer), "reversal": (customer, cash)}
        debit, credit = pays.get(kind, (customer, provider))
        post_at(debit.pk, credit.pk, amount, at, kind=kind)
    month, balance = first, {customer.pk: PLENTY, provider.pk: 0}
    while month < THIS_MONTH:
        for statement in statements_issue(month=month):
            assert statement.opening_nano == balance[statement.account_id]
            balance[statement.account_id] = statement.closing_nano
        month = month.next
    customer.refresh_from_db()
    provider.refresh_from_db()
    assert balance == {customer.pk: customer.posted_nano, provider.pk: provider.posted_nano}
    assert [gap for gap in ledger_proof().gaps if "statement" in gap] == []


def test_calls_of_batches_are_lines_of_their_own_at_their_price(
    shop: Shop, month_over: Month
) -> None:
    offer = offer_publish(
        deployment=shop.deployment, price=Price(id=0, row_nano=5), batch_discount_bps=2_500
    )
    batch = price_of(offer).in_class(PriceClass.BATCH)
    for price_class, price in (("standard", price_of(offer)), ("batch", batch), ("batch", batch)):
        charge = charge_nano(price, Usage(rows=1_000))
        settle(
            record(
                account_id=shop.customer_account.pk,
                organisation_id=shop.organisation.pk,
                provider_account_id=shop.provider_account.pk,
                price_id=offer.pk,
                price_class=price_class,
                charge_nano=charge,
                rows=1_000,
            )
        )
    invoice = issue(shop.customer_account, month_over)
    lines = [line for line in invoice.entries if line.is_charge]
    assert [(line.price_class, line.calls, line.amount_nano) for line in lines] == [
        ("standard", 1, -5_000),
        ("batch", 2, -8_000),
    ]
    assert [line.items[0].unit_nano for line in lines] == [5, 4]
    rows = list(csv.DictReader(io.StringIO(statement_csv(invoice))))
    assert [row["price_class"] for row in rows if row["line"] == "charge"] == ["standard", "batch"]
    assert ledger_proof().gaps == ()
