"""The page of rankings, with a chart of the first models over time."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from marketplace.catalog.models import Task
from marketplace.storefront.browse.pages import absolute
from marketplace.storefront.rankings.price_and_speed import price_and_speed
from marketplace.storefront.rankings.selectors import (
    BY,
    CHARTED_MAX,
    RANKED_MAX,
    SAMPLES_MIN,
    Ranked,
    app_ranking,
    ranking,
)
from marketplace.usage.models import RankingWindow
from marketplace.usage.rollups.deployments import Measured, measured_by, rollups_in
from marketplace.usage.windows import Window, window_of

OVER_TIME = {
    "calls": lambda row: row.calls,
    "tokens": lambda row: row.tokens_in + row.tokens_out,
    "ttft": lambda row: row.ttft_ms_p50,
    "latency": lambda row: row.total_ms_p50,
    "throughput": lambda row: row.tokens_per_s,
}
UNITS = {"ttft": "ms", "latency": "ms", "throughput": "tok/s"}


@require_safe
def rankings(request: HttpRequest) -> HttpResponse:
    """The ranking of ``?by=`` over ``?range=``, for one ``?task=`` or all."""
    by = request.GET.get("by", "")
    by = by if by in BY else "calls"
    name = request.GET.get("range", "")
    window = RankingWindow(name) if name in RankingWindow.values else RankingWindow.WEEK
    task = request.GET.get("task", "")
    task = task if task in Task.values else ""
    ranked = ranking(BY[by], window, task=task)
    computed_at = ranked[0].figures.computed_at if ranked else None
    context = {
        "ranked": ranked,
        "apps": [] if task or BY[by].is_speed else app_ranking(BY[by], window),
        "by": by,
        "by_label": BY[by].label,
        "kinds": BY,
        "is_speed": BY[by].is_speed,
        "unit": UNITS.get(by, ""),
        "window": window,
        "windows": RankingWindow.choices,
        "task": task,
        "tasks": Task.choices,
        "samples_min": SAMPLES_MIN,
        "most": RANKED_MAX,
        "computed_at": computed_at,
        "scatter": price_and_speed(window, task),
        "canonical": absolute(reverse("rankings"), f"?by={by}&range={window}"),
        # The chart uses the table's hours or days, else their sums differ.
        **_chart(
            ranked[:CHARTED_MAX], by, window_of({"range": window}, computed_at or timezone.now())
        ),
    }
    return render(request, "catalog/rankings.html", context)


def _chart(first: list[Ranked], by: str, window: Window) -> dict[str, Any]:
    """Columns for the chart: Unix seconds, and a value or null for each model."""
    rows = rollups_in([ranked.model.name for ranked in first], window)
    cells = measured_by(rows, lambda row: (row.model, row.starts_at))
    columns: dict[str, list[Any]] = {"at": [int(at.timestamp()) for at in window.points]}
    for i, ranked in enumerate(first):
        steps = [cells.get((ranked.model.name, at), Measured()) for at in window.points]
        columns[f"m{i}"] = [OVER_TIME[by](step) for step in steps]
    return {
        "columns": columns,
        "series": " ".join(f"m{i}" for i in range(len(first))),
        "labels": "|".join(ranked.model.display_name for ranked in first),
    }
