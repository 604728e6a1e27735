"""The ledger's SQL functions as the router calls them, for tests."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.db import connection

from router.contracts.record import UsageRecord, record_as_builtins

USD = 1_000_000_000


def call(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(parameters))
        return cursor.fetchall() if cursor.description else []


def lease_take(account_id: int, need: int, want: int, router: str = "r1") -> uuid.UUID | None:
    rows = call(
        "SELECT * FROM billing_lease_take(%s, %s, %s, %s, 60)", router, account_id, need, want
    )
    return rows[0][0] if rows else None


def lease_close(lease_id: uuid.UUID) -> int:
    return call("SELECT billing_lease_close(%s)", lease_id)[0][0]


def settle(*records: UsageRecord) -> dict[uuid.UUID, bool]:
    body = json.dumps([record_as_builtins(record) for record in records])
    return dict(call("SELECT request_id, applied FROM billing_settle(%s::jsonb)", body))


def record(**values: Any) -> UsageRecord:
    """A completed call; whatever matters to a test is given."""
    charge = values.get("charge_nano", 0)
    fields: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "router_id": "r1",
        "lease_id": "",
        "account_id": 0,
        "organisation_id": 0,
        "key_id": 0,
        "model": "author/slug",
        "kind": "chat",
        "outcome": "completed",
        "http_status": 200,
        "streamed": False,
        "created_at_ms": 1_700_000_000_000,
        "hold_nano": charge,
        "commission_nano": charge // 10,
    }
    return UsageRecord(
        **{**fields, **{k: str(v) if k == "lease_id" else v for k, v in values.items()}}
    )
