"""A provider's earnings by month and model."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils import timezone

from marketplace.billing.invoices.lines import Line
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.selectors import charges
from marketplace.billing.models import Account
from marketplace.catalog.models import Provider

STATEMENTS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Earned:
    """``statement`` is the number of the month's payout statement, "" before it is issued."""

    month: str
    model: str
    calls: int
    charged_nano: int
    commission_nano: int
    earned_nano: int
    statement: str


def earnings_of(provider: Provider) -> list[Earned]:
    """Newest month first: issued months from their statements, open ones from the ledger."""
    account = Account.objects.filter(provider=provider).first()
    if account is None:
        return []
    issued = {
        statement.month: statement
        for statement in Statement.objects.filter(account=account)[:STATEMENTS_SHOWN]
    }
    this_month = Month.of(timezone.now())
    # Last month stays open until the job issues its statement.
    opened = {month for month in (this_month, this_month.previous) if month not in issued}
    rows: list[Earned] = []
    for month in sorted({*issued, *opened}, reverse=True):
        if month in issued:
            rows += _by_model(month, issued[month].entries, issued[month].number)
        else:
            rows += _by_model(month, charges(account, month), "")
    return rows


def _by_model(month: Month, lines: Iterable[Line], statement: str) -> list[Earned]:
    by_model: dict[str, list[Line]] = {}
    for line in lines:
        if line.is_charge:
            by_model.setdefault(line.model, []).append(line)
    return [
        Earned(
            month=str(month),
            model=model,
            calls=sum(line.calls for line in of_model),
            charged_nano=sum(line.amount_nano + line.commission_nano for line in of_model),
            commission_nano=sum(line.commission_nano for line in of_model),
            earned_nano=sum(line.amount_nano for line in of_model),
            statement=statement,
        )
        for model, of_model in sorted(by_model.items())
    ]
