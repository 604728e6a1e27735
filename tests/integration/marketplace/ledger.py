"""The ledger's SQL functions as the router calls them, for tests."""

import time
import uuid
from datetime import datetime
from typing import Any

import psycopg
from django.db import connection

from marketplace.accounts.models import Organisation, User
from marketplace.billing import services
from marketplace.billing.models import Transfer
from router.contracts.record import UsageRecord, encode_records
from router.domain.ids import uuid7

USD = 1_000_000_000


def call(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(parameters))
        return cursor.fetchall() if cursor.description else []


def credit_grant(*, organisation: Organisation, amount_nano: int, idem_key: str = "") -> Transfer:
    """As a rule of the platform's does."""
    return services.credit_grant(
        organisation=organisation,
        amount_nano=amount_nano,
        rule="system: a test",
        reason="It needs credit.",
        idem_key=idem_key,
    )


def transfer_reverse(*, transfer: Transfer) -> Transfer:
    """As one of the staff does."""
    someone, _ = User.objects.get_or_create(email="books@example.org")
    return services.transfer_reverse(transfer=transfer, reason="A test.", ordered_by=someone)


def post_at(
    debit_id: int,
    credit_id: int,
    amount_nano: int,
    at: datetime,
    *,
    kind: str = "grant",
    request_id: str | None = None,
) -> None:
    """A transfer of another day, by the books' owner: their functions date by the clock."""
    as_owner(
        "INSERT INTO billing_transfer"
        " (debit_id, credit_id, amount_nano, idem_key, kind, request_id, created_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        debit_id,
        credit_id,
        amount_nano,
        f"test:{uuid.uuid4()}",
        kind,
        request_id,
        at,
    )


def forge(
    debit: str,
    credit: str,
    amount_nano: int,
    *,
    kind: str,
    request_id: str | None = None,
    of: Organisation | None = None,
) -> int:
    """A transfer between accounts of these kinds, by a superuser of the books; returns its id.

    The customer is ``of``, or the first.
    """
    whose = (of or Organisation.objects.order_by("pk")[0]).pk
    as_owner(
        "INSERT INTO billing_transfer"
        " (debit_id, credit_id, amount_nano, idem_key, kind, request_id)"
        " SELECT d.id, c.id, %s, %s, %s, %s FROM billing_account d, billing_account c"
        " WHERE d.kind = %s AND c.kind = %s"
        " AND coalesce(c.organisation_id, d.organisation_id, %s) = %s LIMIT 1",
        amount_nano,
        key := f"forged:{uuid.uuid4()}",
        kind,
        request_id,
        debit,
        credit,
        whose,
        whose,
    )
    return Transfer.objects.get(idem_key=key).pk


def intrude(sql: str, *parameters: Any) -> None:
    """As a superuser who switches the triggers off."""
    _as_superuser("tamper", sql, parameters)


def as_owner(sql: str, *parameters: Any) -> None:
    """As the owner of the books, with their switch on."""
    _as_superuser("forge", sql, parameters)


def _as_superuser(how: str, sql: str, parameters: tuple[Any, ...]) -> None:
    """By a door that only the tests' databases have (`tests.databases.INTRUDER`)."""
    with connection.cursor() as cursor:
        statement = psycopg.ClientCursor(cursor.connection).mogrify(sql, parameters or None)
        cursor.execute(f"SELECT intruder.{how}(%s)", [statement])


def lease_take(
    account_id: int, need: int, want: int, router: str = "r1", budgets: tuple[int, ...] = ()
) -> uuid.UUID | None:
    lease_id = uuid.uuid4()
    ((amount,),) = call(
        "SELECT amount_nano FROM billing_lease_take(%s, %s, 'life', %s, %s, %s, %s, 60)",
        lease_id,
        router,
        account_id,
        list(budgets),
        need,
        want,
    )
    return lease_id if amount else None


def lease_close(lease_id: uuid.UUID) -> int:
    return call("SELECT billing_lease_close(%s)", lease_id)[0][0]


def settle(*records: UsageRecord) -> dict[uuid.UUID, bool]:
    body = encode_records(records).decode()
    return dict(call("SELECT request_id, applied FROM billing_settle(%s::jsonb)", body))


def record(**values: Any) -> UsageRecord:
    """A completed call; whatever matters to a test is given."""
    charge = values.get("charge_nano", 0)
    created_at_ms = values.get("created_at_ms", time.time_ns() // 1_000_000)
    fields: dict[str, Any] = {
        "request_id": uuid7(created_at_ms, uuid.uuid4().int),
        "router_id": "r1",
        "lease_id": "",
        "account_id": 0,
        "organisation_id": 0,
        "key_id": 0,
        "model": "author/slug",
        "kind": "chat",
        "outcome": "completed",
        "http_status": 200,
        "streamed": values.get("ttft_ms", 0) > 0,
        "created_at_ms": created_at_ms,
        "hold_nano": charge,
        "commission_nano": charge // 10,
    }
    return UsageRecord(
        **{**fields, **{k: str(v) if k == "lease_id" else v for k, v in values.items()}}
    )
