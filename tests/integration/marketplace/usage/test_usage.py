"""Recorded calls at size: months, rollups that agree with their calls, lists by keyset."""

import csv
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace.accounts.services import api_key_create
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.usage import tasks
from marketplace.usage.models import (
    CallerRollup,
    ModelFigures,
    Span,
    UsageEvent,
    UsageRollup,
)
from marketplace.usage.partitions import id_floor, id_time, partition_names, partitions_detach
from marketplace.usage.rollups.latency import BUCKETS_PER_OCTAVE
from marketplace.usage.rollups.selectors import figures_by, figures_sum, rollups_of
from marketplace.usage.selectors import calls_in, calls_page
from marketplace.usage.services import figures_compute, rollups_rebuild
from marketplace.usage.windows import Window, window_of
from router.domain.ids import uuid7
from tests.examples import stored_examples
from tests.integration.marketplace.ledger import as_owner, call, intrude, record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db

DAY_MS = 24 * 3600 * 1000
MODELS = ("a/one", "b/two")
OUTCOMES = ("completed", "client_gone", "worker_failed")


def millis(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def charged(shop: Shop, **values: Any) -> Any:
    made = {
        "account_id": shop.customer_account.pk,
        "organisation_id": shop.organisation.pk,
        "provider_account_id": shop.provider_account.pk,
        "charge_nano": 1_000,
        **values,
    }
    return record(**made)


def table_of(request_id: str) -> str:
    return call(
        "SELECT tableoid::regclass::text FROM usage_event WHERE request_id = %s", request_id
    )[0][0]


def whole(organisation_id: int) -> Window:
    now = datetime.now(UTC)
    query = {"range": "custom", "from": str((now - timedelta(days=900)).date()), "to": "2100-01-01"}
    return window_of({**query, "to": str(now.date())}, now)


# --- months ------------------------------------------------------------------------------------


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


# --- rollups -----------------------------------------------------------------------------------

CALLS = st.builds(
    dict,
    model=st.sampled_from(MODELS),
    outcome=st.sampled_from(OUTCOMES),
    key_id=st.integers(0, 2),
    user_id=st.integers(0, 1),
    deployment_id=st.integers(0, 1),
    created_at_ms=st.integers(0, 3 * DAY_MS).map(lambda ms: millis("2026-01-30T00:00:00") + ms),
    charge_nano=st.integers(0, 1_000),
    prompt_tokens=st.integers(0, 100),
    completion_tokens=st.integers(0, 100),
    ttft_ms=st.floats(0, 1e5),
    total_ms=st.floats(0, 1e8),
)


@settings(
    max_examples=stored_examples(10),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=st.lists(st.lists(CALLS, max_size=12), max_size=5), data=st.data())
def test_rollups_are_the_sums_of_their_calls(
    shop: Shop, batches: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    with transaction.atomic():
        call("SELECT usage_partitions_make('2026-01-01+00', '2026-02-28+00')")
        sent: list[Any] = []
        for batch in batches:
            fresh = [charged(shop, **values) for values in batch]
            again = data.draw(st.lists(st.sampled_from(sent), max_size=5)) if sent else []
            settle(*again, *fresh)
            sent += fresh
        assert ledger_proof().gaps == ()
        for span in Span:
            rows = UsageRollup.objects.filter(span=span)
            by_model = figures_by(rows, "model")
            # Those of callers say the same.
            assert figures_by(CallerRollup.objects.all(), "model") == by_model
            total = figures_sum(list(by_model.values()))
            assert total.calls == len(sent)
            assert total.charge_nano == sum(message.charge_nano for message in sent)
            completed = [record for record in sent if record.outcome == "completed"]
            assert sum(total.ttft.values()) == sum(call.ttft_ms > 0 for call in completed)
        if sent:
            rollups_rebuild(datetime(2026, 1, 30, tzinfo=UTC), datetime(2026, 2, 3, tzinfo=UTC))
            assert ledger_proof().gaps == ()
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("UPDATE usage_rollup SET calls = calls + 1 WHERE span = 'hour'", "counts 2 calls"),
        ("UPDATE usage_rollup SET prompt_tokens = 9 WHERE span = 'hour'", "counts 1 calls"),
        ("UPDATE usage_rollup SET total_cells = '{}' WHERE span = 'hour'", "counts 1 calls"),
        ("DELETE FROM usage_rollup WHERE span = 'hour'", "counts 0 calls and 0 nano"),
        ("UPDATE usage_rollup SET charge_nano = 5 WHERE span = 'day'", "and its hours"),
        ("DELETE FROM usage_rollup WHERE span = 'day'", "and its hours"),
        ("UPDATE usage_event SET model = 'x/y'", "rollup of x/y"),
        ("UPDATE usage_caller_rollup SET calls = 2", "of its callers"),
        ("UPDATE usage_caller_rollup SET failed = 1", "of its callers"),
        ("UPDATE usage_caller_rollup SET total_cells = '{}'", "of its callers"),
        ("DELETE FROM usage_caller_rollup", "of its callers"),
    ],
)
def test_the_proof_finds_a_rollup_that_disagrees(shop: Shop, broken: str, said: str) -> None:
    settle(charged(shop, ttft_ms=5.0, total_ms=9.0))
    assert ledger_proof().gaps == ()
    intrude(broken)
    assert any(said in gap for gap in ledger_proof().gaps)
    today = datetime.now(UTC).date()
    days = [f"{today + timedelta(days=days)}" for days in (-1, 2)]
    call_command("usage", "rebuild", "--from", days[0], "--until", days[1])
    assert ledger_proof().gaps == ()


def test_the_frequent_proof_looks_at_recent_calls_only(shop: Shop) -> None:
    now = datetime.now(UTC)
    earlier = now - timedelta(days=20)
    intrude("SELECT usage_partitions_make(%s, %s)", earlier, now)
    settle(charged(shop, created_at_ms=int(earlier.timestamp() * 1000)))
    intrude("UPDATE usage_rollup SET calls = 7")
    assert ledger_proof(recent_only=True).gaps == ()
    assert ledger_proof().gaps


@pytest.mark.parametrize("ms", [0.2, 1, 1.4, 1.5, 90, 1e5, 1e9])
def test_both_planes_count_a_latency_in_the_same_bucket(ms: float) -> None:
    ((bucket,),) = call("SELECT usage_bucket(%s)", ms)
    lower = 2 ** (bucket / BUCKETS_PER_OCTAVE)
    assert lower <= max(ms, 1) * 1.0001
    assert ms < lower * 2 ** (1 / BUCKETS_PER_OCTAVE) or ms >= 1e6


def test_a_busy_hours_histogram_stays_short(shop: Shop) -> None:
    for _ in range(5):
        settle(*(charged(shop, ttft_ms=2.0**i, total_ms=3.0**i) for i in range(1, 11)))
        settle(*(charged(shop, ttft_ms=8.0, total_ms=9.0) for _ in range(60)))
    rows = UsageRollup.objects.all()
    assert all(len(row.total_cells) <= 24 + 60 for row in rows)
    total = figures_sum(list(figures_by(rows.filter(span=Span.DAY), "model").values()))
    assert sum(total.total.values()) == 350
    assert ledger_proof().gaps == ()


def test_models_are_measured_over_completed_calls_of_the_last_day(shop: Shop) -> None:
    now_ms = time.time_ns() // 1_000_000
    for ms in (100.0, 110.0, 5_000.0):
        settle(
            charged(shop, ttft_ms=ms, total_ms=2 * ms, completion_tokens=10, reasoning_tokens=90)
        )
    settle(charged(shop, outcome="truncated", ttft_ms=1.0, total_ms=1.0))
    settle(charged(shop, created_at_ms=now_ms - 2 * DAY_MS, ttft_ms=1.0, total_ms=1.0))
    assert tasks.compute_figures() == 1
    figures = ModelFigures.objects.get()
    assert figures.calls == 3
    assert figures.ttft_ms_p50 == pytest.approx(110, rel=0.42)
    assert figures.total_ms_p99 == pytest.approx(10_000, rel=0.42)
    assert figures.tokens_per_s == pytest.approx(1000 * 300 / 10_420)
    intrude("DELETE FROM usage_rollup")
    assert figures_compute() == 0
    assert not ModelFigures.objects.exists()


# --- lists -------------------------------------------------------------------------------------


def settle_scattered(shop: Shop, count: int) -> list[uuid.UUID]:
    """Calls over many hours, some in the same millisecond; ids newest first."""
    now_ms = time.time_ns() // 1_000_000
    records = [
        charged(
            shop,
            created_at_ms=now_ms - (i // 3) * 1_700_000,
            model=MODELS[i % 7 == 0],
            outcome=OUTCOMES[(i % 5 == 0) + (i % 11 == 0)],
        )
        for i in range(count)
    ]
    settle(*records)
    return sorted((uuid.UUID(record.request_id) for record in records), reverse=True)


@pytest.mark.parametrize("count", [1, 3, 7, 50])
@pytest.mark.parametrize(
    "filters", [{}, {"model": MODELS[1]}, {"model": MODELS[0], "outcome": OUTCOMES[2]}]
)
def test_pages_of_calls_are_complete_and_without_repeats(
    shop: Shop, count: int, filters: dict[str, str]
) -> None:
    settle_scattered(shop, 61)
    window, seen, before = whole(shop.organisation.pk), [], None
    while True:
        rows, before = calls_page(
            shop.organisation.pk, window, before=before, count=count, **filters
        )
        seen += [row.pk for row in rows]
        if before is None:
            break
        assert len(rows) == count
    wanted = UsageEvent.objects.filter(**filters).order_by("-request_id")
    assert seen == list(wanted.values_list("pk", flat=True))
    assert seen


def test_a_page_costs_two_queries_however_many_calls_there_are(
    shop: Shop, django_assert_num_queries: Any
) -> None:
    settle_scattered(shop, 200)
    for count in (5, 50):
        with django_assert_num_queries(2):
            calls_page(shop.organisation.pk, whole(shop.organisation.pk), count=count)


def test_the_page_leads_to_older_calls_and_back(shop: Shop) -> None:
    ids = settle_scattered(shop, 60)
    client = signed_in(shop.owner)
    first = client.get("/usage?range=90d")
    assert [row.pk for row in first.context["calls"]] == ids[:50]
    assert f"before={first.context['older']}" in first.content.decode()
    rest = client.get(f"/usage?range=90d&before={first.context['older']}")
    assert [row.pk for row in rest.context["calls"]] == ids[50:]
    assert rest.context["older"] is None
    assert rest.context["totals"] == first.context["totals"]
    for before in ("nonsense", "ffffffff-ffff-ffff-ffff-ffffffffffff"):
        assert client.get(f"/usage?range=90d&before={before}").status_code == 200


def test_a_custom_range_ends_with_its_last_day(shop: Shop) -> None:
    inside, after = "2026-02-01T23:59:59.999", "2026-02-02T00:00:00"
    records = [charged(shop, created_at_ms=millis(at)) for at in (inside, after)]
    settle(*records)
    client = signed_in(shop.owner)
    page = client.get("/usage?range=custom&from=2026-02-01&to=2026-02-01")
    assert [str(row.pk) for row in page.context["calls"]] == [records[0].request_id]
    assert page.context["totals"].calls == 1


def test_times_before_there_were_ids_are_before_every_call(shop: Shop) -> None:
    settle(charged(shop))
    client = signed_in(shop.owner)
    found = client.get("/api/v1/usage?created_after=0001-01-01T00:00:00Z").json()["results"]
    assert len(found) == 1
    assert client.get("/api/v1/usage?created_before=1969-12-31T00:00:00Z").json()["results"] == []


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", {"a/one", "b/two"}),
        ("key", {"ours", "in the browser"}),
        ("member", {"owner@example.com", "by key"}),
        ("outcome", {"Completed", "Worker failed"}),
        ("nonsense", {"a/one", "b/two"}),
    ],
)
def test_usage_is_taken_apart(shop: Shop, by: str, names: set[str]) -> None:
    key, _ = api_key_create(organisation=shop.organisation, name="ours")
    settle(
        charged(shop, model="a/one", key_id=key.pk),
        charged(shop, model="b/two", user_id=shop.owner.pk, outcome="worker_failed"),
    )
    client = signed_in(shop.owner)
    groups = client.get(f"/usage?by={by}").context["summary"].groups
    assert {group.name for group in groups} == names
    assert [group.figures.calls for group in groups] == [1, 1]
    if by in ("key", "member"):
        value = next(group.value for group in groups if not group.name.startswith(("in", "by")))
        assert client.get(f"/usage?{by}={value}").context["totals"].calls == 1


def test_the_csv_has_every_call_of_the_window(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.usage.selectors.CHUNK", 7)
    ids = settle_scattered(shop, 61)
    client = signed_in(shop.owner)

    def rows(query: str) -> list[dict[str, str]]:
        response = client.get(f"/usage.csv?range=90d&{query}")
        assert response.streaming
        return list(csv.DictReader(b"".join(response).decode().splitlines()))

    everything = rows("")
    assert [row["request_id"] for row in everything] == [str(test_id) for test_id in ids]
    assert {row["charge_nano"] for row in everything} == {"1000"}
    assert len(rows(f"model={MODELS[1]}")) == 9
    monkeypatch.setattr("marketplace.usage.pages.CSV_ROWS_MAX", 20)
    assert rows("") == everything[:20]


def test_calls_are_read_in_chunks(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.usage.selectors.CHUNK", 2)
    settle_scattered(shop, 5)
    found = calls_in(shop.organisation.pk, whole(shop.organisation.pk), ["request_id"])
    assert len(set(found)) == 5


def test_an_organisation_reads_its_own_rollups(shop: Shop) -> None:
    settle(charged(shop))
    window = whole(shop.organisation.pk)
    assert figures_by(rollups_of(shop.organisation.pk, window), "model")["author/slug"].calls == 1
    assert figures_by(rollups_of(shop.organisation.pk + 1, window), "model") == {}


# --- money's guards, once a statement ----------------------------------------------------------


def test_a_transfer_names_accounts_that_exist(shop: Shop) -> None:
    with pytest.raises(DatabaseError, match="account 987654321, which does not exist"):
        as_owner(
            "INSERT INTO billing_transfer (debit_id, credit_id, amount_nano, idem_key, kind) "
            "VALUES (%s, 987654321, 1, 'x', 'grant')",
            shop.customer_account.pk,
        )


def test_an_account_with_transfers_stays(shop: Shop) -> None:
    for account in (shop.customer_account, shop.provider_account):
        settle(charged(shop))
        with pytest.raises(DatabaseError, match="has transfers and stays"), transaction.atomic():
            as_owner("DELETE FROM billing_account WHERE id = %s", account.pk)
    assert connection.needs_rollback is False
