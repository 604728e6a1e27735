"""Statements are issued once, without gaps, and stay."""

import io
import threading
import time

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from marketplace.accounts.services import organisation_create
from marketplace.billing.invoices import tasks
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import statement_issue, statements_issue
from marketplace.billing.models import Account, Transfer
from marketplace.billing.proof.ledger import ledger_proof
from tests.integration.marketplace.billing.invoices.statements import (
    THIS_MONTH,
    issue,
    offer_of,
    settle_call,
)
from tests.integration.marketplace.ledger import USD, as_owner, call, credit_grant
from tests.integration.marketplace.shop import Shop
from tests.patience import PATIENCE_S


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
