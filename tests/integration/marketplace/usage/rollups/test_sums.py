"""Rollups agree with their calls, and the proof finds those that do not."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace.billing.proof.ledger import ledger_proof
from marketplace.usage import tasks
from marketplace.usage.models import CallerRollup, ModelFigures, Span, UsageRollup
from marketplace.usage.rollups.latency import BUCKETS_PER_OCTAVE
from marketplace.usage.rollups.selectors import figures_by, figures_sum
from marketplace.usage.services import figures_compute, rollups_rebuild
from tests.examples import stored_examples
from tests.integration.marketplace.ledger import call, intrude, settle
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.usage.charging import DAY_MS, MODELS, OUTCOMES, charged, millis

pytestmark = pytest.mark.django_db
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
