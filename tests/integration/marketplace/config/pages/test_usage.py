"""The pages of usage."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from django.test import Client

from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_usage_adds_up_and_a_call_is_taken_apart(shop: Shop, member: Client) -> None:
    request_id = settled_call(shop)
    settled_call(shop, outcome="client_gone", http_status=499)
    totals = member.get("/usage").context["totals"]
    assert (totals.calls, totals.charge_nano, totals.failed) == (2, 40_000, 1)
    assert (totals.tokens_in, totals.tokens_out) == (2_000, 0)
    # Of the completed call; out of a histogram.
    assert totals.total_ms_p50 == pytest.approx(30, rel=0.42)
    assert member.get("/usage?outcome=client_gone").context["totals"].calls == 1
    call = member.get(f"/usage/{request_id}")
    (line,) = call.context["lines"]
    assert (line["item"], line["quantity"], line["amount_nano"]) == (
        "Prompt tokens",
        "1,000",
        20_000,
    )
    csv = b"".join(member.get("/usage.csv")).decode()
    assert request_id in csv
    assert csv.count("\n") == 3


def test_a_range_leaves_older_calls_out(shop: Shop, member: Client) -> None:
    day_s = 24 * 3600
    now_s = time.time()
    for age_s in (0, 12 * 3600, 5 * day_s, 20 * day_s, 40 * day_s, 200 * day_s):
        settled_call(shop, created_at_ms=int((now_s - age_s) * 1000))

    def counted(query: str) -> int:
        page = member.get(f"/usage?{query}")
        assert len(page.context["calls"]) == page.context["totals"].calls
        return page.context["totals"].calls

    ranges = ("6h", "24h", "7d", "30d", "90d", "", "nonsense")
    assert [counted(f"range={name}") for name in ranges] == [1, 2, 3, 4, 5, 3, 3]
    then = datetime.fromtimestamp(now_s - 200 * day_s, UTC).date()
    assert counted(f"range=custom&from={then}&to={then}") == 1
    assert counted(f"range=custom&from={then}&to=nonsense") == 3
    assert b"".join(member.get("/usage.csv?range=6h")).count(b"\n") == 2
