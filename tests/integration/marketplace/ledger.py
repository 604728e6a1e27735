"""The ledger's SQL functions as the router calls them, for tests."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime
from typing import Any

from django.db import connection

from router.contracts.record import UsageRecord, record_as_builtins
from router.domain.ids import uuid7

USD = 1_000_000_000


def call(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(parameters))
        return cursor.fetchall() if cursor.description else []


def post_at(
    debit_id: int,
    credit_id: int,
    amount_nano: int,
    at: datetime,
    *,
    kind: str = "grant",
    request_id: str | None = None,
) -> None:
    """A transfer of another day, by the ledger's own switch: its functions date by the clock."""
    call("SET LOCAL waypost.ledger = 'on'")
    call(
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
    call("SET LOCAL waypost.ledger = 'off'")


def intrude(sql: str, *parameters: Any) -> None:
    """As somebody who may switch the triggers off would."""
    call("SET LOCAL session_replication_role = 'replica'")
    call(sql, *parameters)
    call("SET LOCAL session_replication_role = 'origin'")


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
    body = json.dumps([record_as_builtins(record) for record in records])
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
