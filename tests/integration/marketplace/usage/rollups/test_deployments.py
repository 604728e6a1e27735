"""What all customers' calls come to by deployment, and the rankings out of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.accounts.services import organisation_list_apps
from marketplace.benchmarks.runs.platform_account import ORGANISATION
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.usage.app_rankings import app_rankings_compute
from marketplace.usage.models import (
    AppRollup,
    DeploymentRollup,
    ModelFigures,
    ModelRanking,
    Span,
    UsageRollup,
)
from marketplace.usage.rankings import rankings_compute
from marketplace.usage.rollups.deployments import measured_by, measured_sum, rollups_in
from marketplace.usage.services import (
    LOOK_BACK_FAR,
    deployment_rollups_compute,
    figures_compute,
    rollups_rebuild,
)
from marketplace.usage.windows import window_of
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

HOUR_MS = 3_600_000


def called(shop: Shop, *, age_ms: int = 0, **values: object) -> None:
    settle(
        record(
            account_id=shop.customer_account.pk,
            provider_account_id=shop.provider_account.pk,
            **{
                "organisation_id": shop.organisation.pk,
                "created_at_ms": int(time.time() * 1000) - age_ms,
                "deployment_id": shop.deployment.pk,
                "ttft_ms": 10.0,
                "total_ms": 30.0,
                "queue_ms": 2.0,
                "prompt_tokens": 5,
                "completion_tokens": 4,
                **values,
            },
        )
    )


def last_day() -> list[DeploymentRollup]:
    return rollups_in(["author/slug"], window_of({"range": "24h"}, datetime.now(UTC)))


def sums_of_days() -> list[int]:
    days = DeploymentRollup.objects.filter(span=Span.DAY).order_by("starts_at")
    return list(days.values_list("calls", flat=True))


def test_sums_tell_faults_from_what_no_worker_got(shop: Shop) -> None:
    for outcome in ("completed", "completed", "worker_failed", "truncated", "client_gone"):
        called(shop, outcome=outcome)
    called(shop, outcome="rejected", deployment_id=0)
    deployment_rollups_compute()
    whole = measured_sum(last_day())
    assert (whole.calls, whole.placed, whole.faults, whole.completed) == (6, 5, 2, 2)
    assert whole.uptime == pytest.approx(3 / 5)
    assert whole.ttft_ms_p50 == pytest.approx(10, rel=0.42)
    assert whole.tokens_per_s == pytest.approx(1000 * 4 / 28)
    assert whole.token_ms == pytest.approx(5)
    assert set(measured_by(last_day(), lambda row: row.deployment_id)) == {0, shop.deployment.pk}
    figures_compute()
    figures = ModelFigures.objects.get()
    assert (figures.placed, figures.faults, figures.uptime) == (5, 2, pytest.approx(3 / 5))


def test_computing_twice_counts_once_and_brings_in_what_is_new(shop: Shop) -> None:
    called(shop)
    deployment_rollups_compute()
    called(shop)
    deployment_rollups_compute()
    deployment_rollups_compute()
    assert measured_sum(last_day()).calls == 2
    assert DeploymentRollup.objects.filter(span=Span.DAY).get().calls == 2


def test_what_comes_late_is_counted_by_the_far_look_back(shop: Shop) -> None:
    called(shop)
    deployment_rollups_compute()
    called(shop, age_ms=5 * HOUR_MS)
    deployment_rollups_compute()
    assert measured_sum(last_day()).calls == 1
    deployment_rollups_compute(look_back=LOOK_BACK_FAR)
    assert measured_sum(last_day()).calls == 2


def test_old_hours_go_and_their_days_stay(shop: Shop) -> None:
    called(shop, age_ms=20 * 24 * HOUR_MS)
    deployment_rollups_compute()
    assert [row.span for row in DeploymentRollup.objects.all()] == [Span.DAY]
    DeploymentRollup.objects.update(span=Span.HOUR)
    deployment_rollups_compute()
    assert [row.span for row in DeploymentRollup.objects.all()] == [Span.DAY]


def test_what_was_called_while_the_job_was_down_is_counted(shop: Shop) -> None:
    called(shop, age_ms=5 * 24 * HOUR_MS)
    deployment_rollups_compute()
    called(shop, age_ms=4 * 24 * HOUR_MS)
    called(shop)
    deployment_rollups_compute()
    assert sums_of_days() == [1, 1, 1]


def test_rebuilding_a_day_brings_back_its_sums(shop: Shop) -> None:
    called(shop, age_ms=5 * 24 * HOUR_MS)
    called(shop)
    deployment_rollups_compute()
    begun = timezone.now() - timedelta(days=5)
    DeploymentRollup.objects.filter(starts_at__lt=begun + timedelta(days=1)).delete()
    deployment_rollups_compute()
    assert sums_of_days() == [1]
    rollups_rebuild(begun, begun + timedelta(hours=1))
    assert sums_of_days() == [1, 1]


def test_rankings_are_of_their_windows(shop: Shop) -> None:
    called(shop)
    called(shop, age_ms=3 * 24 * HOUR_MS)
    called(shop, age_ms=20 * 24 * HOUR_MS)
    deployment_rollups_compute()
    assert rankings_compute() == 3
    calls = dict(ModelRanking.objects.values_list("window", "calls"))
    assert calls == {"24h": 1, "7d": 2, "30d": 3}
    month = ModelRanking.objects.get(window="30d")
    assert (month.tokens, month.completed) == (27, 3)
    assert month.ttft_ms_p50 == pytest.approx(10, rel=0.42)


def test_benchmarks_are_no_customers_calls(shop: Shop) -> None:
    platform = Organisation.objects.create(slug=ORGANISATION, name="Waypost benchmarks")
    called(shop, organisation_id=platform.pk)
    assert UsageRollup.objects.exists()
    deployment_rollups_compute()
    rankings_compute()
    figures_compute()
    for kept in (DeploymentRollup, ModelRanking, ModelFigures):
        assert not kept.objects.exists(), kept


def test_apps_are_ranked_by_completed_calls_unless_their_organisation_wants_none(
    shop: Shop,
) -> None:
    for title in ("Old", "Chat", "Chat"):
        called(shop, app="chat.example", app_title=title)
    called(shop, app="chat.example", outcome="worker_failed")
    called(shop, app="code.example", prompt_tokens=50, age_ms=3 * 24 * HOUR_MS)
    called(shop)
    called(shop, app="code.example", model="~acme/own")
    app_rankings_compute()

    def ranked(query: str) -> list[tuple[str, str, int, int]]:
        rows = Client().get(f"/api/v1/rankings/apps?{query}").json()
        return [(row["app"], row["title"], row["calls"], row["tokens"]) for row in rows]

    chat, code = ("chat.example", "Chat", 3, 27), ("code.example", "", 1, 54)
    assert ranked("window=24h") == [chat]
    assert ranked("window=7d") == [chat, code]
    assert ranked("by=tokens") == [code, chat]
    page = Client().get("/rankings").content.decode()
    assert page.index("Chat<br>") < page.index("code.example")
    before = list(AppRollup.objects.order_by("span", "app").values())
    day = datetime.now(UTC)
    rollups_rebuild(day - timedelta(days=3), day)
    assert list(AppRollup.objects.order_by("span", "app").values()) == before
    organisation_list_apps(organisation=shop.organisation, lists=False)
    app_rankings_compute()
    assert ranked("") == []


def test_all_windows_are_ranked_by_the_newest_sums(shop: Shop) -> None:
    for calls in (1, 2):
        called(shop)
        deployment_rollups_compute()
        rankings_compute()
        assert set(ModelRanking.objects.values_list("calls", flat=True)) == {calls}


def test_what_is_over_is_read_once_until_sums_come_late(shop: Shop) -> None:
    called(shop)
    called(shop, age_ms=3 * 24 * HOUR_MS)
    deployment_rollups_compute()
    rankings_compute()
    called(shop)
    deployment_rollups_compute()
    DeploymentRollup.objects.filter(starts_at__lt=timezone.now() - timedelta(days=2)).delete()
    rankings_compute()
    week = ModelRanking.objects.get(window="7d")
    assert (week.calls, week.completed, week.tokens) == (3, 3, 27)
    assert week.ttft_ms_p50 == pytest.approx(10, rel=0.42)
    rankings_compute(afresh=True)
    assert ModelRanking.objects.get(window="7d").calls == 2


def test_the_first_byte_is_that_of_streams_alone(shop: Shop) -> None:
    """An answer that is not streamed has its first byte with its last."""
    for _ in range(20):
        called(shop, streamed=False, ttft_ms=4_000.0, total_ms=4_000.0, completion_tokens=400)
    called(shop, streamed=True, ttft_ms=10.0, total_ms=4_010.0, completion_tokens=400)
    deployment_rollups_compute()
    whole = measured_sum(last_day())
    assert whole.ttft_ms_p50 == pytest.approx(10, rel=0.42)
    assert whole.token_ms == pytest.approx(10, rel=0.1)
    assert ledger_proof().gaps == ()


def test_where_nobody_streams_tokens_take_the_time_of_the_calls(shop: Shop) -> None:
    called(shop, streamed=False, ttft_ms=200.0, total_ms=200.0, completion_tokens=20)
    deployment_rollups_compute()
    whole = measured_sum(last_day())
    assert whole.ttft_ms_p50 is None
    assert whole.token_ms == pytest.approx(10)


def test_a_stream_in_one_piece_credits_no_token_with_no_time(shop: Shop) -> None:
    called(shop, streamed=True, ttft_ms=202.0, total_ms=202.0, completion_tokens=20)
    deployment_rollups_compute()
    assert measured_sum(last_day()).token_ms == pytest.approx(10)
