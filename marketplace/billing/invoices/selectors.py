"""An account's month: money from transfers, quantities from usage events."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from marketplace.accounts.models import Organisation
from marketplace.billing.invoices.lines import CHARGE, Line
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.models import CHARGE_KINDS, Account, AccountKind, Transfer
from marketplace.catalog.models import Offer
from marketplace.catalog.prices import price_of
from router.domain.pricing import Usage, charge_lines

STATED_KINDS = (AccountKind.CUSTOMER, AccountKind.PROVIDER)
"""Kinds of accounts that get statements."""

_SIGNED = "CASE WHEN credit_id = %(account)s THEN amount_nano ELSE -amount_nano END"
_OWN = "(debit_id = %(account)s OR credit_id = %(account)s)"
_USED = tuple(Usage.__struct_fields__)

_BALANCES = f"""
SELECT coalesce(sum({_SIGNED}) FILTER (WHERE created_at < %(start)s), 0)::bigint,
       coalesce(sum({_SIGNED}), 0)::bigint
FROM billing_transfer WHERE {_OWN} AND created_at < %(end)s
"""  # noqa: S608 - constants of this module

# Joined from transfers, so that a charge counts even if its usage event is gone.
_CHARGES = f"""
SELECT coalesce(e.model, ''), coalesce(p.slug, ''), coalesce(e.price_id, 0),
       coalesce(e.price_class, 'standard'), count(*),
       sum(c.amount)::bigint, coalesce(sum(e.commission_nano), 0)::bigint,
       {", ".join(f"coalesce(sum(e.{name}), 0)::bigint" for name in _USED)}
FROM (
  SELECT request_id, sum({_SIGNED}) AS amount FROM billing_transfer
  WHERE {_OWN} AND created_at >= %(start)s AND created_at < %(end)s AND kind = ANY(%(charges)s)
  GROUP BY request_id) c
LEFT JOIN usage_event e ON e.request_id = c.request_id
LEFT JOIN billing_account a ON a.id = e.provider_account_id
LEFT JOIN catalog_provider p ON p.id = a.provider_id
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 DESC
"""  # noqa: S608 - constants of this module

_TO_STATE = """
SELECT a.id FROM billing_account a
WHERE a.kind = ANY(%(kinds)s)
  AND NOT EXISTS (SELECT 1 FROM billing_statement s
                  WHERE s.account_id = a.id AND s.period = %(period)s)
  AND EXISTS (SELECT 1 FROM billing_transfer t
              WHERE (t.debit_id = a.id OR t.credit_id = a.id)
                AND t.created_at >= %(start)s AND t.created_at < %(end)s)
ORDER BY a.id
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a statement. ``closing_nano`` is ``opening_nano`` plus all lines."""

    opening_nano: int
    lines: tuple[Line, ...]
    closing_nano: int


def statements_of(organisations: QuerySet[Organisation]) -> QuerySet[Statement]:
    """The organisations' invoices, and payout statements of their providers, newest first."""
    own = organisations.order_by().values("pk")
    return Statement.objects.filter(
        Q(account__organisation__in=own) | Q(account__provider__organisation__in=own)
    ).select_related("account__organisation", "account__provider")


def statement_draft(account: Account, month: Month) -> Draft:
    """The account's month from the ledger, as of now. Raises ``ValueError`` on a gap."""
    with connection.cursor() as cursor:
        cursor.execute(_BALANCES, _parameters(account, month))
        opening_nano, closing_nano = cursor.fetchone() or (0, 0)
    lines = (*_movements(account, month), *charges(account, month))
    if opening_nano + sum(line.amount_nano for line in lines) != closing_nano:
        raise ValueError(f"the lines of account {account.pk} in {month} are not its transfers")
    return Draft(opening_nano, lines, closing_nano)


def charges(account: Account, month: Month) -> tuple[Line, ...]:
    """Calls by model, provider and price version: negative for the payer, else positive."""
    with connection.cursor() as cursor:
        cursor.execute(_CHARGES, _parameters(account, month))
        rows = cursor.fetchall()
    offers = Offer.objects.in_bulk([row[2] for row in rows])
    lines = []
    for model, provider, price_id, price_class, calls, amount, commission, *used in rows:
        usage = Usage(*used)
        offer = offers.get(price_id)
        price = price_of(offer).in_class(price_class) if offer else None
        lines.append(
            Line(
                kind=CHARGE,
                amount_nano=amount,
                model=model,
                provider=provider,
                price_id=price_id,
                price_class=price_class,
                calls=calls,
                usage=usage,
                items=tuple(charge_lines(price, usage, calls)) if price else (),
                commission_nano=commission,
            )
        )
    return tuple(lines)


def accounts_to_state(month: Month) -> list[int]:
    """Ids of accounts with transfers in the month but no statement yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            _TO_STATE,
            {
                "kinds": [str(kind) for kind in STATED_KINDS],
                "period": month.first_day,
                "start": month.start,
                "end": month.end,
            },
        )
        return [row[0] for row in cursor.fetchall()]


def _movements(account: Account, month: Month) -> Iterator[Line]:
    transfers: QuerySet[Transfer] = (
        Transfer.objects.filter(Q(debit=account) | Q(credit=account))
        .filter(created_at__gte=month.start, created_at__lt=month.end)
        .exclude(kind__in=CHARGE_KINDS)
        .order_by("id")
    )
    for transfer in transfers:
        gained = transfer.credit_id == account.pk
        yield Line(
            kind=transfer.kind,
            amount_nano=transfer.amount_nano if gained else -transfer.amount_nano,
            reference=transfer.reference,
            at_ms=int(transfer.created_at.timestamp() * 1000),
        )


def _parameters(account: Account, month: Month) -> dict[str, Any]:
    return {
        "account": account.pk,
        "start": month.start,
        "end": month.end,
        "charges": [str(kind) for kind in CHARGE_KINDS],
    }
