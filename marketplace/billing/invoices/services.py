"""Issues statements: once for an account and a month, under the next number."""

from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from marketplace.billing.invoices.lines import encode_lines
from marketplace.billing.invoices.models import Statement, StatementKind
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.selectors import accounts_to_state, statement_draft
from marketplace.billing.models import Account, AccountKind
from marketplace.billing.services import account_lock

KINDS = {
    AccountKind.CUSTOMER: StatementKind.INVOICE,
    AccountKind.PROVIDER: StatementKind.PAYOUT,
}
SERIES = {StatementKind.INVOICE: "WI", StatementKind.PAYOUT: "WP"}
"""The prefix of a kind's numbers."""
CLOCK_SKEW = timedelta(minutes=5)
"""The most that this machine's clock may be ahead of the database's, which dates transfers."""


def statements_issue(*, month: Month) -> list[Statement]:
    """Issue the month's missing statements, each in its own transaction. Safe to repeat.

    Raises ``ValidationError`` before the month is over.
    """
    _check_over(month)
    accounts = Account.objects.select_related("organisation", "provider")
    issued = [
        statement_issue(account=account, month=month)
        for account in accounts.filter(pk__in=accounts_to_state(month)).order_by("pk")
    ]
    return [statement for statement in issued if statement is not None]


def statement_issue(*, account: Account, month: Month) -> Statement | None:
    """The account's invoice or payout statement; None for a month in which nothing moved.

    Returns the existing statement if there is one. Raises ``ValidationError`` before the month is
    over.
    """
    _check_over(month)
    with transaction.atomic():
        # A writer of transfers locks the accounts first and dates the transfer then. So once this
        # lock was held, all transfers of the month are visible and none can be added. The lock
        # is released at once: another issuer, with the series' lock, must not wait for it.
        account_lock(account=account)
    draft = statement_draft(account, month)
    if not draft.lines:
        return None
    kind = KINDS[AccountKind(account.kind)]
    with transaction.atomic():
        sequence = _next_sequence(kind, year := timezone.now().year)
        statement, _ = Statement.objects.get_or_create(
            account=account,
            period=month.first_day,
            defaults={
                "kind": kind,
                "number": f"{SERIES[kind]}-{year}-{sequence:06d}",
                "year": year,
                "sequence": sequence,
                "issuer": settings.WAYPOST_ISSUER,
                "holder": str(account.organisation or account.provider),
                "currency": account.currency,
                "opening_nano": draft.opening_nano,
                "closing_nano": draft.closing_nano,
                "lines": encode_lines(draft.lines),
                "issued_at": timezone.now(),
            },
        )
    return statement


def _check_over(month: Month) -> None:
    now = timezone.now() - CLOCK_SKEW
    if month.end > now:
        last = Month.of(now).previous
        raise ValidationError(f"{month} is not over yet; the last month that is: {last}")


def _next_sequence(kind: StatementKind, year: int) -> int:
    """The next number. It is taken at commit, so a rollback leaves no gap."""
    with connection.cursor() as cursor:
        # This lock conflicts only with itself: issuers wait for each other, readers do not.
        cursor.execute("SELECT billing_statements_lock()")
    issued = Statement.objects.filter(kind=kind, year=year)
    return (issued.aggregate(last=Max("sequence"))["last"] or 0) + 1
