"""Statements as files: exact CSV, and PDF in the active language."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typst
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from marketplace.billing.invoices.lines import Line
from marketplace.billing.invoices.models import Statement, StatementKind
from marketplace.billing.models import TransferKind
from marketplace.catalog.prices import (
    DECIMALS_MAX,
    ITEMS,
    decimals_needed,
    number_text,
    quantity_text,
    unit_price_text,
    usd_text,
)
from marketplace.shared.spreadsheets import inert
from router.domain.money import format_usd
from router.domain.pricing import PriceClass, Usage

TEMPLATE = Path(__file__).parent / "statement.typ"
DAY = "Y-m-d"
USED = tuple(Usage.__struct_fields__)
CSV_FIELDS = (
    "number",
    "period",
    "line",
    "at",
    "reference",
    "model",
    "provider",
    "price_id",
    "price_class",
    "calls",
    *USED,
    "commission_usd",
    "amount_usd",
)


def statement_csv(statement: Statement) -> str:
    """A row for each line between the two balances, in dollars with nine decimals.

    The amounts between ``opening_balance`` and ``closing_balance`` sum to their difference.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_FIELDS, restval="")
    writer.writeheader()
    common = {"number": statement.number, "period": str(statement.month)}
    opening = {"line": "opening_balance", "amount_usd": format_usd(statement.opening_nano)}
    closing = {"line": "closing_balance", "amount_usd": format_usd(statement.closing_nano)}
    writer.writerow({**common, **opening})
    for line in statement.entries:
        writer.writerow({**common, **_csv_row(line)})
    writer.writerow({**common, **closing})
    return file.getvalue()


def _csv_row(line: Line) -> dict[str, Any]:
    row = {"line": line.kind, "amount_usd": format_usd(line.amount_nano)}
    if not line.is_charge:
        at = datetime.fromtimestamp(line.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return {**row, "at": at, "reference": inert(line.reference)}
    return {
        **row,
        "model": line.model,
        "provider": line.provider,
        "price_id": line.price_id,
        "price_class": line.price_class,
        "calls": line.calls,
        **{name: getattr(line.usage, name) for name in USED},
        "commission_usd": format_usd(line.commission_nano),
    }


def statement_pdf(statement: Statement) -> bytes:
    """The PDF; the same bytes for the same statement and language."""
    made = typst.compile(
        str(TEMPLATE),
        sys_inputs={"statement": json.dumps(_page(statement))},
        timestamp=int(statement.issued_at.timestamp()),
    )
    assert isinstance(made, bytes)  # noqa: S101 - PDF is one file
    return made


def _page(statement: Statement) -> dict[str, Any]:
    """The context of the template, all as text."""
    lines = statement.entries
    charged = [line for line in lines if line.is_charge]
    moved = [line for line in lines if not line.is_charge]
    is_invoice = statement.kind == StatementKind.INVOICE
    decimals = decimals_needed(
        statement.opening_nano, statement.closing_nano, *(line.amount_nano for line in lines)
    )
    language, _sep, region = (get_language() or "en").partition("-")
    return {
        "language": language,
        "region": region or None,
        "title": statement.get_kind_display(),
        "number": statement.number,
        "issuer": statement.issuer,
        "facts": [
            [_("Billed to") if is_invoice else _("Provider"), statement.holder],
            [_("Period"), date_format(statement.period, "YEAR_MONTH_FORMAT")],
            [_("Issued"), date_format(statement.issued_at.astimezone(UTC), DAY)],
            [_("Currency"), statement.currency],
        ],
        "summary": _summary(statement, charged, moved, decimals),
        "charges": _charges(charged, decimals, is_invoice=is_invoice),
        "movements": _movements(moved),
        "notes": _notes(decimals, is_invoice=is_invoice),
        "page": _("Page"),
    }


def _summary(
    statement: Statement, charged: list[Line], moved: list[Line], decimals: int
) -> list[list[str]]:
    def row(label: str, amount_nano: int) -> list[str]:
        return [label, usd_text(amount_nano, decimals)]

    calls = _("Calls") if statement.kind == StatementKind.INVOICE else _("Earned")
    return [
        row(_("Opening balance"), statement.opening_nano),
        row(_("Top-ups, grants and other movements"), sum(line.amount_nano for line in moved))
        if statement.kind == StatementKind.INVOICE
        else row(_("Payouts and other movements"), sum(line.amount_nano for line in moved)),
        row(calls, sum(line.amount_nano for line in charged)),
        row(_("Closing balance"), statement.closing_nano),
    ]


def _charges(charged: list[Line], decimals: int, *, is_invoice: bool) -> dict[str, Any] | None:
    """The charges. Customers see provider and cost; providers see charge, commission, earnings."""
    if not charged:
        return None
    columns = (
        [_("Model"), _("Provider"), _("Calls"), _("Amount")]
        if is_invoice
        else [_("Model"), _("Calls"), _("Charged"), _("Commission"), _("Earned")]
    )
    rows = []
    for line in charged:
        name = line.model or _("Calls without a record")
        calls = number_text(line.calls, 0)
        amount = usd_text(abs(line.amount_nano), decimals)
        gross = usd_text(line.amount_nano + line.commission_nano, decimals)
        commission = usd_text(line.commission_nano, decimals)
        rows.append(
            {
                "cells": [name, line.provider or "–", calls, amount]
                if is_invoice
                else [name, calls, gross, commission, amount],
                "details": _details(line),
            }
        )
    total = abs(sum(line.amount_nano for line in charged))
    return {
        "title": _("Calls by model, provider and price"),
        "columns": columns,
        "rows": rows,
        "total": [_("Total"), usd_text(total, decimals)],
    }


def _details(line: Line) -> str:
    """The details of a line: price version, and quantities at their prices."""
    if not line.price_id:
        return ""
    version = _("Price version %(id)s") % {"id": line.price_id}
    if line.price_class == PriceClass.BATCH:
        version += f", {_('in batches')}"
    items = [
        f"{quantity_text(item.item, item.quantity)} {str(ITEMS[item.item]).lower()}"
        f" × {unit_price_text(item.unit_nano, item.per)}"
        for item in line.items
    ]
    # No line break between a quantity, its unit and its price.
    return "  ·  ".join(text.replace(" ", "\u00a0") for text in (version, *items))


def _movements(moved: list[Line]) -> dict[str, Any] | None:
    if not moved:
        return None
    decimals = decimals_needed(*(line.amount_nano for line in moved))
    labels = dict(TransferKind.choices)
    return {
        "title": _("Other movements"),
        "columns": [_("Date"), _("What"), _("Reference"), _("Amount")],
        "rows": [
            [
                date_format(datetime.fromtimestamp(line.at_ms / 1000, UTC), DAY),
                str(labels.get(line.kind, line.kind)),
                line.reference,
                usd_text(line.amount_nano, decimals),
            ]
            for line in moved
        ],
    }


def _notes(decimals: int, *, is_invoice: bool) -> list[str]:
    notes = [
        _("A call belongs to the month in which it was settled, in UTC."),
        _(
            "Each call is rounded once, to a billionth of a dollar, and never costs more than "
            "was held for it. For both reasons, the amount can differ from quantity times "
            "price."
        ),
    ]
    if is_invoice:
        notes.insert(0, _("Paid out of prepaid credit: nothing is due."))
    if decimals == DECIMALS_MAX:
        notes.append(_("Amounts are shown with up to six decimals; the CSV file has all of them."))
    return notes
