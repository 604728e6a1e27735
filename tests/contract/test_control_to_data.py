"""Both planes mean the same by a usage record and by a policy."""

import json
from pathlib import Path

import pytest
from django.db import connection

from marketplace.routing.models import PolicyKind
from marketplace.usage.models import UsageEvent
from router.contracts.record import UsageRecord, encode_record, encode_records
from router.domain.outcome import Outcome

ROOT = Path(__file__).resolve().parents[2]
RENAMED = {"created_at_ms": "created_at"}
NOT_STORED = {"schema", "traceparent", "parent_span_id", "priority"}
"""Traces are kept where they are exported to."""


def test_every_field_of_a_record_is_a_column() -> None:
    wanted = {RENAMED.get(name, name) for name in UsageRecord.__struct_fields__} - NOT_STORED
    columns = {field.column for field in UsageEvent._meta.concrete_fields}
    assert wanted == columns - {"settled_at"}


@pytest.mark.django_db
def test_settling_stores_every_field_as_it_was_sent() -> None:
    numbers = {
        "prompt_tokens": 2**40,
        "cached_tokens": 2,
        "completion_tokens": 3,
        "reasoning_tokens": 4,
        "rows": 5,
        "images": 6,
    }
    sent = UsageRecord(
        request_id="01890a5d-ac96-774b-bcce-b302099a8057",
        router_id="r1",
        lease_id="",
        account_id=7,
        organisation_id=8,
        key_id=9,
        user_id=10,
        policy_id=14,
        model="a/b",
        kind="chat",
        outcome=Outcome.COMPLETED,
        http_status=200,
        streamed=True,
        created_at_ms=1_700_000_000_123,
        deployment_id=11,
        price_id=12,
        price_class="batch",
        provider_account_id=13,
        worker_id="w-0",
        pool="w",
        place=3,
        eta_ms=40.5,
        queue_ms=0.5,
        ttft_ms=1.5,
        upstream_ms=2.5,
        total_ms=3.5,
        finish_reason="stop",
        app="example.com",
        app_title="Example",
        asked="auto",
        why="the fastest",
        masked="card=1",
        guarded="input=passed",
        error="stream_broken",
        **numbers,
    )
    body = encode_records([sent]).decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM billing_settle(%s::jsonb)", [body])
    event = UsageEvent.objects.get()
    stored = json.loads(encode_record(sent))
    for name in set(stored) - NOT_STORED - {"request_id", "created_at_ms", "lease_id"}:
        assert getattr(event, name) == stored[name], name
    assert str(event.request_id) == sent.request_id
    assert event.created_at.timestamp() * 1_000 == pytest.approx(sent.created_at_ms, abs=0.5)
    assert event.lease_id is None


def test_every_policy_that_can_be_chosen_is_a_file_of_the_scheduler() -> None:
    files = {path.stem for path in (ROOT / "router/scheduling/policies").glob("*.py")}
    assert set(PolicyKind.values) == files - {"__init__", "baseline"}
