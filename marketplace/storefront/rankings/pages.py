"""Rankings by use and by measured speed, and how the first ones did over time."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from marketplace.catalog.models import Task
from marketplace.storefront.browse.pages import absolute
from marketplace.storefront.rankings.selectors import (
    BY,
    CHARTED_MAX,
    RANKED_MAX,
    SAMPLES_MIN,
    Ranked,
    ranking,
)
from marketplace.usage.deployments import Measured, measured_by, rollups_in
from marketplace.usage.models import RankingWindow
from marketplace.usage.windows import Window, window_of

OVER_TIME = {
    "calls": lambda one: one.calls,
    "tokens": lambda one: one.tokens_in + one.tokens_out,
    "ttft": lambda one: one.ttft_ms_p50,
    "latency": lambda one: one.total_ms_p50,
    "throughput": lambda one: one.tokens_per_s,
}
UNITS = {"ttft": "ms", "latency": "ms", "throughput": "tok/s"}


@require_safe
def rankings(request: HttpRequest) -> HttpResponse:
    """The ranking of ``?by=`` in a ``?range=``, of one ``?task=`` or of all."""
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
        "canonical": absolute(reverse("rankings"), f"?by={by}&range={window}"),
        # Of the table's own hours or days, or the two would not add up to the same.
        **_chart(
            ranked[:CHARTED_MAX], by, window_of({"range": window}, computed_at or timezone.now())
        ),
    }
    return render(request, "catalog/rankings.html", context)


def _chart(first: list[Ranked], by: str, window: Window) -> dict[str, Any]:
    """Columns for the chart: Unix seconds, and of each model a value or null."""
    rows = rollups_in([one.model.name for one in first], window)
    cells = measured_by(rows, lambda row: (row.model, row.starts_at))
    columns: dict[str, list[Any]] = {"at": [int(at.timestamp()) for at in window.points]}
    for i, one in enumerate(first):
        steps = [cells.get((one.model.name, at), Measured()) for at in window.points]
        columns[f"m{i}"] = [OVER_TIME[by](step) for step in steps]
    return {
        "columns": columns,
        "series": " ".join(f"m{i}" for i in range(len(first))),
        "labels": "|".join(one.model.display_name for one in first),
    }
