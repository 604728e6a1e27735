"""Usage records for tests."""

from typing import Any

import msgspec

from router.contracts.record import UsageRecord

BASE = UsageRecord(
    request_id="0",
    router_id="r",
    lease_id="",
    account_id=7,
    organisation_id=1,
    key_id=1,
    model="m",
    kind="chat",
    outcome="completed",
    http_status=200,
    streamed=False,
    created_at_ms=0,
)


def record(request_id: str, **fields: Any) -> UsageRecord:
    return changed(BASE, request_id=request_id, **fields)


def changed(base: UsageRecord, **fields: Any) -> UsageRecord:
    return msgspec.structs.replace(base, **fields)
