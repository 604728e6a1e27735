"""An organisation's charges of a month as FOCUS 1.2, the FinOps Foundation's format of costs.

A row is one meter (prompt tokens, rows, …) of one price version, of one key's or member's calls of
a model in a day. Unit prices times quantities are exact there; each call's charge is rounded once.
So a row "Adjustment" has what a day's charges differ by, and the rows of a month add up to its
invoice. Money that comes in is no cost and has no row. See https://focus.finops.org/.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection

from marketplace.accounts.models import Organisation, User
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.models import CHARGE_KINDS, Account
from marketplace.catalog.models import AIModel, Offer, Task
from marketplace.catalog.prices import price_of
from marketplace.shared.spreadsheets import Echo, inert
from router.domain.money import NANO_PER_USD
from router.domain.pricing import ChargeLine, Usage, charge_lines

_USED = tuple(Usage.__struct_fields__)
# Dated by its transfers, as on the invoice.
_CHARGES = f"""
SELECT date_trunc('day', c.at, 'UTC'), coalesce(e.key_id, 0), coalesce(e.user_id, 0),
       coalesce(e.model, ''), coalesce(p.slug, ''), coalesce(p.name, ''), coalesce(e.price_id, 0),
       coalesce(e.price_class, 'standard'), count(*), sum(c.amount)::bigint,
       {", ".join(f"coalesce(sum(e.{name}), 0)::bigint" for name in _USED)}
FROM (
  SELECT request_id, min(created_at) AS at,
         sum(CASE WHEN debit_id = %(account)s THEN amount_nano ELSE -amount_nano END) AS amount
  FROM billing_transfer
  WHERE (debit_id = %(account)s OR credit_id = %(account)s)
    AND created_at >= %(start)s AND created_at < %(end)s AND kind = ANY(%(charges)s)
  GROUP BY request_id) c
LEFT JOIN usage_event e ON e.request_id = c.request_id
LEFT JOIN billing_account a ON a.id = e.provider_account_id
LEFT JOIN catalog_provider p ON p.id = a.provider_id
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 7, 8
"""  # noqa: S608 - constants of this module

METERS = {
    "prompt_tokens": ("Prompt tokens", "Tokens"),
    "cached_tokens": ("Cached prompt tokens", "Tokens"),
    "completion_tokens": ("Answer tokens", "Tokens"),
    "reasoning_tokens": ("Reasoning tokens", "Tokens"),
    "requests": ("Calls", "Requests"),
    "rows": ("Rows", "Rows"),
    "search_units": ("Search units", "Search Units"),
    "inputs": ("Inputs", "Inputs"),
    "characters": ("Characters", "Characters"),
    "audio_seconds": ("Sound", "Seconds"),
    "images": ("Images", "Images"),
    "hardware_ms": ("Hardware time", "Milliseconds"),
}
"""The name and the unit of each meter; the file is in English whatever the page is in."""
GONE = "Calls whose records are gone"
PRICED_PER = {"Tokens": "1000000 Tokens", "Milliseconds": "Seconds"}
"""Units of prices that are not for one."""


@dataclass(frozen=True, slots=True)
class Charged:
    """What one caller's calls of a model came to in a day, at one price version."""

    day: datetime
    key_id: int
    user_id: int
    model: str
    provider: str
    provider_name: str
    price_id: int
    price_class: str
    calls: int
    amount_nano: int
    usage: Usage


def focus_csv(organisation: Organisation, account: Account, month: Month) -> Iterator[str]:
    """The month as lines of CSV, oldest day first."""
    invoice = Statement.objects.filter(account=account, period=month.first_day).first()
    charged = _charged(account, month)
    offers = Offer.objects.in_bulk({one.price_id for one in charged})
    keys = dict(organisation.api_keys.values_list("pk", "name"))
    emails = User.objects.filter(pk__in={one.user_id for one in charged})
    members = dict(emails.values_list("pk", "email"))
    chats = AIModel.objects.filter(task=Task.CHAT, name__in={one.model for one in charged})
    generative = set(chats.values_list("name", flat=True))
    common = {
        "BillingAccountId": organisation.slug,
        "BillingAccountName": inert(organisation.name),
        "BillingCurrency": account.currency,
        "BillingPeriodStart": _moment(month.start),
        "BillingPeriodEnd": _moment(month.end),
        "InvoiceId": invoice.number if invoice else "",
        "InvoiceIssuerName": settings.WAYPOST_ISSUER,
        "ProviderName": settings.WAYPOST_ISSUER,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Model inference",
        "ChargeFrequency": "Usage-Based",
    }
    writer = csv.DictWriter(Echo(), COLUMNS, restval="")
    # `writeheader` returns what the file's `write` does, which is the line.
    yield str(writer.writeheader())
    for one in charged:
        offer = offers.get(one.price_id)
        price = price_of(offer).in_class(one.price_class) if offer else None
        lines = charge_lines(price, one.usage, one.calls) if price else _fee(one)
        member = members.get(one.user_id)
        of_group = common | {
            "ChargePeriodStart": _moment(one.day),
            "ChargePeriodEnd": _moment(one.day + timedelta(days=1)),
            "PublisherName": inert(one.provider_name) or settings.WAYPOST_ISSUER,
            "ServiceSubcategory": (
                "Generative AI" if one.model in generative else "Machine Learning"
            ),
            "ResourceId": one.model,
            "ResourceName": one.model,
            "ResourceType": "Model" if one.model else "",
            "SubAccountId": str(one.key_id) if one.key_id else "",
            "SubAccountName": inert(keys.get(one.key_id, "")),
            "SubAccountType": "API key" if one.key_id else "",
            "Tags": json.dumps({"member": member}) if member else "",
        }
        for row in (*(_metered(one, line) for line in lines), _rest(one, lines)):
            if row:
                yield str(writer.writerow(of_group | row))


def _metered(one: Charged, line: ChargeLine) -> dict[str, str]:
    meter, unit = METERS[line.item]
    quantity = _decimal(Decimal(line.quantity) / line.per)
    unit_price = _decimal(Decimal(line.unit_nano) / NANO_PER_USD)
    return _cost(Decimal(line.quantity) * line.unit_nano / line.per) | {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{meter} of {one.model}",
        "ConsumedQuantity": str(line.quantity),
        "ConsumedUnit": unit,
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": PRICED_PER.get(unit, unit),
        "ListUnitPrice": unit_price,
        "ContractedUnitPrice": unit_price,
        "SkuId": f"{one.provider}/{one.model}/{line.item}",
        "SkuMeter": meter,
        "SkuPriceId": f"{one.price_id}/{one.price_class}/{line.item}",
    }


def _fee(one: Charged) -> list[ChargeLine]:
    """Of an own endpoint's calls, whose price is no offer: the fee of each, where all had the same.

    None of calls whose records are gone.
    """
    each, rest = divmod(one.amount_nano, one.calls)
    return [ChargeLine("requests", one.calls, each, 1)] if one.model and not rest else []


def _rest(one: Charged, lines: list[ChargeLine]) -> dict[str, str]:
    """What the calls were charged besides their meters; {} for nothing."""
    metered = sum((Decimal(line.quantity) * line.unit_nano / line.per for line in lines), Decimal())
    rest_nano = one.amount_nano - metered
    if not rest_nano:
        return {}
    said = f"Rounding of {one.calls} charges of {one.model}"
    if not lines:
        said = f"Fees of {one.calls} calls of {one.model}" if one.model else GONE
    return _cost(rest_nano) | {"ChargeCategory": "Adjustment", "ChargeDescription": said}


def _cost(nano: Decimal) -> dict[str, str]:
    cost = _decimal(nano / NANO_PER_USD)
    return dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost)


def _charged(account: Account, month: Month) -> list[Charged]:
    parameters: dict[str, Any] = {
        "account": account.pk,
        "start": month.start,
        "end": month.end,
        "charges": [str(kind) for kind in CHARGE_KINDS],
    }
    with connection.cursor() as cursor:
        cursor.execute(_CHARGES, parameters)
        rows = cursor.fetchall()
    used = len(_USED)
    return [Charged(*(*row[:-used], Usage(*row[-used:]))) for row in rows]


def _decimal(value: Decimal) -> str:
    """All digits, without an exponent or zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
)
