"""What moved an organisation's balance: the calls of a day and model as one row, and transfers."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.db.models import BigIntegerField, F, Q, QuerySet, Sum, TextField, Value

from marketplace.billing.models import CHARGE_KINDS, Account, Transfer
from marketplace.shared.spreadsheets import Echo, inert
from marketplace.usage.models import CallerRollup
from router.domain.money import format_usd

CSV_FIELDS = ("at", "kind", "model", "party", "reference", "calls", "amount_usd")
CSV_READ_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Movement:
    """``amount_nano`` is positive where the balance rose.

    It is a ``transfer`` with ``party``, or the calls of ``model`` in the day (UTC) from ``at`` on.
    """

    at: datetime
    amount_nano: int
    model: str = ""
    calls: int = 0
    transfer: Transfer | None = None
    party: str = ""


def movements_of(account: Account) -> QuerySet[Any, Any]:
    """Rows of a customer for `movements_read`, newest first; a day's calls come last.

    A call has two transfers, one to its provider and one to the platform. Its day's rollup has
    their sum, which the proof of the books compares.
    """
    calls = (
        CallerRollup.objects.filter(organisation_id=account.organisation_id or 0, charge_nano__gt=0)
        .order_by()
        .values(at=F("starts_at"), transfer=Value(0, BigIntegerField()), name=F("model"))
        .annotate(count=Sum("calls"), amount=Sum("charge_nano"))
    )
    others = (
        Transfer.objects.filter(Q(debit=account) | Q(credit=account))
        .exclude(kind__in=CHARGE_KINDS, request_id__isnull=False)
        .order_by()
        .values(at=F("created_at"), transfer=F("pk"), name=Value("", TextField()))
        .annotate(count=Value(0, BigIntegerField()), amount=F("amount_nano"))
    )
    return calls.union(others, all=True).order_by("-at", "-transfer", "name")


def movements_read(account: Account, rows: Iterable[dict[str, Any]]) -> Iterator[Movement]:
    """The movements of some rows of `movements_of`, with their transfers. One query."""
    found = list(rows)
    transfers = Transfer.objects.select_related(
        "debit__provider", "credit__provider", "trial"
    ).in_bulk([row["transfer"] for row in found if row["transfer"]])
    for row in found:
        transfer = transfers.get(row["transfer"])
        if transfer is None:
            yield Movement(row["at"], -int(row["amount"]), row["name"], int(row["count"]))
            continue
        rose = transfer.credit_id == account.pk
        other = transfer.debit if rose else transfer.credit
        yield Movement(
            transfer.created_at,
            transfer.amount_nano if rose else -transfer.amount_nano,
            transfer=transfer,
            party=str(other.provider or other.get_kind_display()),
        )


def movements_csv(account: Account) -> Iterator[str]:
    """All movements as lines of CSV: exact dollars, times in UTC."""
    writer = csv.writer(Echo())
    yield writer.writerow(CSV_FIELDS)
    rows = movements_of(account).iterator(chunk_size=CSV_READ_AT_ONCE)
    while some := list(islice(rows, CSV_READ_AT_ONCE)):
        for one in movements_read(account, some):
            kind, reference = "calls", ""
            if one.transfer is not None:
                kind, reference = one.transfer.kind, one.transfer.reference
            yield writer.writerow(
                (
                    one.at.isoformat(timespec="seconds"),
                    kind,
                    inert(one.model),
                    inert(one.party),
                    inert(reference),
                    one.calls or "",
                    format_usd(one.amount_nano),
                )
            )
