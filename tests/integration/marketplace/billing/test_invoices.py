"""Invoices and payout statements: once, without gaps, immutable, and equal to the ledger."""

import csv
import io
import threading
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone, translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace.accounts.services import organisation_create
from marketplace.billing.invoices import tasks
from marketplace.billing.invoices.documents import statement_csv, statement_pdf
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import CLOCK_SKEW, statement_issue, statements_issue
from marketplace.billing.models import Account, AccountKind, Transfer, TransferKind
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.billing.services import transfer_post
from marketplace.catalog.models import Offer
from marketplace.catalog.prices import price_of
from marketplace.catalog.services import offer_publish
from router.domain.money import commission_nano
from router.domain.pricing import Price, PriceClass, Usage, charge_nano
from tests.examples import stored_examples
from tests.integration.marketplace.ledger import (
    USD,
    as_owner,
    call,
    credit_grant,
    intrude,
    post_at,
    record,
    settle,
    transfer_reverse,
)
from tests.integration.marketplace.shop import Shop, open_shop
from tests.patience import PATIENCE_S

PLENTY = 10**14
THIS_MONTH = Month.of(timezone.now())


@pytest.fixture
def month_over(monkeypatch: pytest.MonkeyPatch) -> Month:
    """The month in which the tests' transfers are made, seen from soon after it."""
    monkeypatch.setattr(timezone, "now", lambda: THIS_MONTH.end + CLOCK_SKEW)
    return THIS_MONTH


def topped_up(shop: Shop, amount_nano: int, reference: str) -> Transfer:
    """As a payment does once it was received."""
    return transfer_post(
        debit=Account.objects.get(kind=AccountKind.CASH),
        credit=shop.customer_account,
        amount_nano=amount_nano,
        idem_key=f"topup:{reference}",
        kind=TransferKind.TOPUP,
    )


def offer_of(shop: Shop, **price: int) -> Offer:
    return offer_publish(deployment=shop.deployment, price=Price(id=0, **price))


def settle_call(shop: Shop, offer: Offer, **used: int) -> int:
    """A call charged by this price; returns the charge."""
    prices = {name: getattr(offer, name) for name in Price.__struct_fields__ if "_nano" in name}
    charge = charge_nano(Price(offer.pk, **prices), Usage(**used))
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            price_id=offer.pk,
            charge_nano=charge,
            commission_nano=commission_nano(charge, 1_000),
            **used,
        )
    )
    return charge


def issue(account: Account, month: Month) -> Statement:
    issued = statement_issue(account=account, month=month)
    assert issued is not None
    return issued


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


def test_a_month_is_invoiced_once(shop: Shop, month_over: Month) -> None:
    first = issue(shop.customer_account, month_over)
    credit_grant(organisation=shop.organisation, amount_nano=1)
    assert issue(shop.customer_account, month_over) == first
    assert Statement.objects.count() == 1


def test_a_month_that_is_not_over_is_refused(shop: Shop) -> None:
    with pytest.raises(ValidationError, match="is not over yet"):
        statement_issue(account=shop.customer_account, month=THIS_MONTH)


def test_a_month_in_which_nothing_moved_has_no_invoice(shop: Shop) -> None:
    before = THIS_MONTH.previous
    assert statement_issue(account=shop.customer_account, month=before) is None
    assert statements_issue(month=before) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_statement SET closing_nano = 0",
        "UPDATE billing_statement SET lines = '[]'",
        "DELETE FROM billing_statement",
        "TRUNCATE billing_statement",
    ],
)
def test_what_was_issued_stays(shop: Shop, month_over: Month, statement: str) -> None:
    issue(shop.customer_account, month_over)
    call("SET CONSTRAINTS ALL IMMEDIATE")
    for way, found in ((call, "permission denied"), (as_owner, "is refused")):
        with pytest.raises(DatabaseError, match=found), transaction.atomic():
            way(statement)


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


def test_numbers_have_no_gap_however_many_issue_at_once(
    committed_shop: Shop, month_over: Month
) -> None:
    accounts = [committed_shop.customer_account]
    for number in range(7):
        other = organisation_create(name="O", slug=f"o{number}", owner=committed_shop.owner)
        credit_grant(organisation=other, amount_nano=USD + number)
        accounts.append(other.billing_account)
    errors: list[BaseException] = []

    def work(order: list[Account], given_up: Account) -> None:
        try:
            with transaction.atomic():
                statement_issue(account=given_up, month=month_over)
                transaction.set_rollback(True)
            for account in order:
                statement_issue(account=account, month=month_over)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=(accounts[n:] + accounts[:n], accounts[-1 - n]))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    issued = Statement.objects.order_by("sequence")
    assert [row.sequence for row in issued] == list(range(1, 9))
    assert {row.account_id for row in issued} == {account.pk for account in accounts}
    assert ledger_proof().gaps == ()


def test_an_invoice_waits_for_transfers_that_are_under_way(
    committed_shop: Shop, month_over: Month
) -> None:
    posted, may_commit = threading.Event(), threading.Event()
    found: list[int] = []

    def post() -> None:
        with transaction.atomic():
            credit_grant(organisation=committed_shop.organisation, amount_nano=3)
            posted.set()
            may_commit.wait(PATIENCE_S)
        connection.close()

    def state() -> None:
        found.append(issue(committed_shop.customer_account, month_over).closing_nano)
        connection.close()

    threads = [threading.Thread(target=post), threading.Thread(target=state)]
    threads[0].start()
    assert posted.wait(PATIENCE_S)
    threads[1].start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    give_up_at_s = time.monotonic() + 30
    while call(waiting)[0][0] == 0 and time.monotonic() < give_up_at_s:
        pass
    assert found == []
    may_commit.set()
    for thread in threads:
        thread.join(30)
    assert found == [10 * USD + 3]


def test_the_csv_file_adds_up_to_the_nano(shop: Shop, month_over: Month) -> None:
    offer = offer_of(shop, prompt_nano_per_million=20_000_000)
    settle_call(shop, offer, prompt_tokens=1_001)
    invoice = issue(shop.customer_account, month_over)
    opening, *lines, closing = csv.DictReader(io.StringIO(statement_csv(invoice)))
    assert (opening["line"], closing["line"]) == ("opening_balance", "closing_balance")
    moved = sum(Decimal(line["amount_usd"]) for line in lines)
    assert Decimal(opening["amount_usd"]) + moved == Decimal(closing["amount_usd"])
    assert Decimal(closing["amount_usd"]) == Decimal(shop.customer_account.posted_nano) / USD
    charged = lines[-1]
    assert (charged["model"], charged["provider"]) == ("author/slug", "northyard")
    assert (charged["calls"], charged["prompt_tokens"]) == ("1", "1001")
    assert charged["amount_usd"] == "-0.00002002"


def test_a_reference_is_no_formula_to_a_spreadsheet(shop: Shop, month_over: Month) -> None:
    topped_up(shop, USD, "=1+1")
    invoice = issue(shop.customer_account, month_over)
    assert invoice.entries[-1].reference == "=1+1"
    *_, topup, _closing = csv.DictReader(io.StringIO(statement_csv(invoice)))
    assert topup["reference"] == "'=1+1"


def test_the_pdf_file_is_the_same_each_time_and_speaks_the_readers_language(
    shop: Shop, month_over: Month
) -> None:
    settle_call(shop, offer_of(shop, request_nano=5), rows=3)
    invoice = issue(shop.customer_account, month_over)
    english = statement_pdf(invoice)
    assert english.startswith(b"%PDF-")
    assert english == statement_pdf(Statement.objects.get())
    with translation.override("pt-br"):
        assert b"pt-BR" in statement_pdf(invoice)


def test_the_clock_issues_last_month_once(shop: Shop, month_over: Month) -> None:
    settle_call(shop, offer_of(shop, request_nano=50))
    assert tasks.issue_last_month() == 2
    assert tasks.issue_last_month() == 0
    numbers = set(Statement.objects.values_list("number", flat=True))
    year = month_over.next.year
    assert numbers == {f"WI-{year}-000001", f"WP-{year}-000001"}


def test_the_command_issues_and_says_what_is_wrong(shop: Shop, month_over: Month) -> None:
    out = io.StringIO()
    call_command("invoices", "issue", "--period", str(month_over), stdout=out)
    assert out.getvalue() == f"WI-{month_over.next.year}-000001  Acme\n"
    call_command("invoices", "issue", "--period", str(month_over), stdout=out)
    assert "Nothing to issue" in out.getvalue()
    with pytest.raises(CommandError, match="not a month"):
        call_command("invoices", "issue", "--period", "October")
    with pytest.raises(CommandError, match="not over yet"):
        call_command("invoices", "issue", "--period", str(month_over.next))
    assert Transfer.objects.count() == 1


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
