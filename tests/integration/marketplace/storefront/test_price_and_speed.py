"""The chart of price against speed."""

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.storefront.rankings import price_and_speed as rankings
from marketplace.storefront.rankings.price_and_speed import price_and_speed
from marketplace.storefront.rankings.selectors import SAMPLES_MIN
from marketplace.usage.models import ModelRanking, RankingWindow
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.storefront.test_browse import add_model

pytestmark = pytest.mark.usefixtures("kept_shop")
WEEK = RankingWindow.WEEK


def measured(model: str, *, calls: int = SAMPLES_MIN, rate: float | None = 50.0) -> None:
    ModelRanking.objects.create(
        window=WEEK,
        model=model,
        calls=calls,
        completed=calls,
        tokens=0,
        ttft_ms_p50=10,
        total_ms_p50=200,
        tokens_per_s=rate,
        computed_at=timezone.now(),
    )


def test_models_lie_where_their_price_and_their_speed_are(shop: Shop) -> None:
    add_model(
        "yard/dear",
        emulated=True,
        prompt_nano_per_million=2_000_000_000,
        completion_nano_per_million=10_000_000_000,
    )
    add_model("yard/seldom", completion_nano_per_million=10**9)
    add_model("yard/by-call", completion_nano_per_million=10**9, request_nano=5)
    measured("author/slug", rate=100)
    measured("yard/dear", rate=50)
    measured("yard/seldom", calls=SAMPLES_MIN - 1)
    measured("yard/by-call")
    shown = price_and_speed(WEEK)
    assert shown is not None
    by_url = {mark.url: mark for mark in shown.marks}
    assert set(by_url) == {"/models/author/slug", "/models/yard/dear"}
    ours, theirs = by_url["/models/author/slug"], by_url["/models/yard/dear"]
    # Three of its tokens are for $2 a million, one is for $10.
    assert "$4.00, 50 tok/s" in theirs.title
    assert theirs.y < ours.y, "dearer is higher"
    assert theirs.x < ours.x
    assert (ours.series, theirs.series) == (0, 1)
    page = Client().get("/rankings?range=7d").content.decode()
    assert "Price and speed of all models" in page
    assert 'href="/models/yard/dear" aria-label=' in page


def test_a_task_without_tokens_is_shown_by_its_unit(shop: Shop) -> None:
    for name, row_nano in (("yard/one", 250), ("yard/two", 500)):
        model = add_model(name, row_nano=row_nano, completion_nano_per_million=0)
        model.task = "tabular"
        model.save()
        measured(name, rate=None)
    assert price_and_speed(WEEK) is None, "rows and tokens are not compared"
    shown = price_and_speed(WEEK, "tabular")
    assert shown is not None
    assert shown.y_label == "per 1M rows ↑"
    assert sorted(mark.title for mark in shown.marks) == [
        "one: $0.25 per 1M rows, 200 ms",
        "two: $0.50 per 1M rows, 200 ms",
    ]


def test_of_many_models_those_are_shown_that_are_called_most(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rankings, "POINTS_MAX", 2)
    for calls in (70, 90, 80):
        add_model(f"yard/m{calls}", completion_nano_per_million=10**9)
        measured(f"yard/m{calls}", calls=calls)
    shown = price_and_speed(WEEK)
    assert shown is not None
    assert sorted(mark.label for mark in shown.marks) == ["m80", "m90"]


def test_one_model_is_no_comparison(shop: Shop) -> None:
    measured("author/slug")
    assert price_and_speed(WEEK) is None
    assert "Price and speed" not in Client().get("/rankings?range=7d").content.decode()
