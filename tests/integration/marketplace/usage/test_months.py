"""Calls lie in the month of their id."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from marketplace.billing.proof.ledger import ledger_proof
from marketplace.usage import tasks
from marketplace.usage.models import UsageEvent
from marketplace.usage.partitions import id_floor, id_time, partition_names, partitions_detach
from router.domain.ids import uuid7
from tests.integration.marketplace.ledger import call, settle
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.usage.charging import charged, millis

pytestmark = pytest.mark.django_db


def table_of(request_id: str) -> str:
    return call(
        "SELECT tableoid::regclass::text FROM usage_event WHERE request_id = %s", request_id
    )[0][0]


def test_calls_lie_in_the_month_of_their_id(shop: Shop) -> None:
    call("SELECT usage_partitions_make('2026-01-31 23:00+00', '2026-02-01 01:00+00')")
    last, first = millis("2026-01-31T23:59:59.999"), millis("2026-02-01T00:00:00")
    records = [charged(shop, created_at_ms=at) for at in (last, first)]
    settle(*records)
    tables = [table_of(record.request_id) for record in records]
    assert tables == ["usage_event_2026_01", "usage_event_2026_02"]


def test_a_record_settles_once_across_months_and_tables(shop: Shop) -> None:
    call("SELECT usage_partitions_make('2026-01-01+00', '2026-02-01+00')")
    records = [
        charged(shop, created_at_ms=millis(f"{month}-15T00:00:00"))
        for month in ("2019-01", "2026-01", "2026-02")
    ]
    assert all(settle(*records).values())
    assert not any(settle(*reversed(records), *records).values())
    assert UsageEvent.objects.count() == 3
    assert shop.provider_account.posted_nano == 3 * 900


def test_months_ahead_are_there_and_are_made_once() -> None:
    now = datetime.now(UTC)
    names = partition_names()
    assert f"usage_event_{now:%Y_%m}" in names
    assert f"usage_event_{now + timedelta(days=31):%Y_%m}" in names
    assert tasks.make_partitions() == 0


def test_a_call_outside_all_months_is_reported_and_moves_when_its_month_is_made(
    shop: Shop,
) -> None:
    one = charged(shop, created_at_ms=millis("2031-05-05T05:05:05"))
    settle(one)
    assert table_of(one.request_id) == "usage_event_default"
    assert ledger_proof().gaps == ("the default partition of usage_event holds 1 calls",)
    call("SELECT usage_partitions_make('2031-05-01+00', '2031-05-01+00')")
    assert table_of(one.request_id) == "usage_event_2031_05"
    assert ledger_proof().gaps == ()


def test_months_that_go_on_stay_whatever_is_asked(shop: Shop) -> None:
    partitions_detach(before=datetime(2099, 1, 1, tzinfo=UTC))
    settle(charged(shop))
    assert ledger_proof().gaps == ()


def test_ids_and_times_translate_both_ways() -> None:
    at = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
    at_ms = int(at.timestamp() * 1000)
    assert id_time(id_floor(at)) == at
    assert str(id_floor(at)) <= uuid7(at_ms, 0) < str(id_floor(at + timedelta(milliseconds=1)))
    assert call("SELECT usage_uuid7_floor(%s)", at) == [(id_floor(at),)]


def test_only_the_months_asked_for_are_read() -> None:
    call("SELECT usage_partitions_make('2026-01-01+00', '2026-06-01+00')")
    bounds = [datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4)]
    plan = call(
        "EXPLAIN SELECT count(*) FROM usage_event WHERE request_id >= %s AND request_id < %s",
        *map(id_floor, bounds),
    )
    tables = {table for (line,) in plan for table in re.findall(r"usage_event_\d{4}_\d\d", line)}
    assert tables == {"usage_event_2026_03"}
    assert "usage_event_default" not in str(plan)
