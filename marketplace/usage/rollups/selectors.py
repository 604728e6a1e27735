"""Reading rollups: sums and latencies over a window, by time or by another key field."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet, Sum

from marketplace.usage.models import CallerRollup, Span, UsageRollup
from marketplace.usage.rollups.latency import Histogram, percentile
from marketplace.usage.windows import Window
from router.domain.outcome import Outcome

HISTOGRAM_SQL = """
SELECT label, cell >> 32, sum(cell & 4294967295)::bigint
FROM (SELECT label, unnest(cells) AS cell FROM ({rows}) AS r (label, cells)) AS c GROUP BY 1, 2
"""
_SUMS: dict[str, Any] = {
    "calls": Sum("calls", default=0),
    "failed": Sum("calls", filter=~Q(outcome=Outcome.COMPLETED), default=0),
    "charge_nano": Sum("charge_nano", default=0),
    "tokens_in": Sum("prompt_tokens", default=0) + Sum("cached_tokens", default=0),
    "tokens_out": Sum("completion_tokens", default=0) + Sum("reasoning_tokens", default=0),
}
_CALLER_SUMS: dict[str, Any] = {name: Sum(name, default=0) for name in _SUMS}
CALLER_FIELDS = frozenset({"starts_at", "key_id", "user_id", "model"})
"""The key fields of ``CallerRollup``."""

Rollups = QuerySet[UsageRollup] | QuerySet[CallerRollup]


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over some calls; latencies are of completed ones."""

    calls: int = 0
    failed: int = 0
    charge_nano: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    ttft: Histogram = field(default_factory=dict)
    total: Histogram = field(default_factory=dict)

    @property
    def ttft_ms_p50(self) -> float | None:
        return percentile(self.ttft, 0.5)

    @property
    def total_ms_p50(self) -> float | None:
        return percentile(self.total, 0.5)

    @property
    def total_ms_p95(self) -> float | None:
        return percentile(self.total, 0.95)

    @property
    def total_ms_p99(self) -> float | None:
        return percentile(self.total, 0.99)


def rollups_of(organisation_id: int, window: Window, **filters: Any) -> QuerySet[UsageRollup]:
    """An organisation's rollups in a window; ``filters`` are by key fields."""
    return UsageRollup.objects.filter(
        organisation_id=organisation_id,
        span=window.span,
        starts_at__gte=window.start,
        starts_at__lt=window.until,
        **filters,
    )


def fewest_rollups_of(organisation_id: int, window: Window, **filters: Any) -> Rollups:
    """The same calls in fewer rows: ``CallerRollup`` if it has what is asked.

    It has days but no hours, and only ``CALLER_FIELDS``.
    """
    if window.span != Span.DAY or not filters.keys() <= CALLER_FIELDS:
        return rollups_of(organisation_id, window, **filters)
    return CallerRollup.objects.filter(
        organisation_id=organisation_id,
        starts_at__gte=window.start,
        starts_at__lt=window.until,
        **filters,
    )


def figures_by(
    rows: Rollups,
    name: str,
    *,
    ttft: bool = True,
    latencies_of: int | None = None,
) -> dict[Any, Figures]:
    """Figures by the values of a field, the highest charge first. At most three queries.

    Latencies cost the most to read. ``ttft=False`` leaves out those to the first byte;
    ``latencies_of`` limits all latencies to the first values.
    """
    is_usage_rollup = rows.model is UsageRollup
    wanted = _SUMS if is_usage_rollup else _CALLER_SUMS
    # Django refuses an annotation with the name of a column.
    sums = rows.order_by().values(name).annotate(**{f"sum_{key}": wanted[key] for key in wanted})
    found = list(sums.order_by("-sum_charge_nano", "-sum_calls", name))
    if not found:
        return {}
    if latencies_of is not None:
        rows = rows.filter(**{f"{name}__in": [row[name] for row in found[:latencies_of]]})
    completed: QuerySet[Any] = rows
    if is_usage_rollup:
        # Cells of CallerRollup are of completed calls already.
        completed = completed.filter(outcome=Outcome.COMPLETED)
    first = histograms(completed, name, "ttft_cells") if ttft else {}
    total = histograms(completed, name, "total_cells")
    return {
        row[name]: Figures(
            **{key: row[f"sum_{key}"] for key in _SUMS},
            ttft=first.get(row[name], {}),
            total=total.get(row[name], {}),
        )
        for row in found
    }


def sums_of(rows: Rollups) -> Figures:
    """The sums over all rows, without latencies. One query."""
    wanted = _SUMS if rows.model is UsageRollup else _CALLER_SUMS
    found = rows.aggregate(**{f"sum_{name}": wanted[name] for name in wanted})
    return Figures(**{name: found[f"sum_{name}"] for name in _SUMS})


def figures_sum(parts: list[Figures]) -> Figures:
    """Figures over all calls from figures over disjoint parts."""
    return Figures(
        **{key: sum(getattr(part, key) for part in parts) for key in _SUMS},
        ttft=merged([part.ttft for part in parts]),
        total=merged([part.total for part in parts]),
    )


def models_called(organisation_id: int, window: Window) -> list[str]:
    """The public names that the organisation called, without duplicates."""
    rows = fewest_rollups_of(organisation_id, window).order_by("model")
    return list(rows.values_list("model", flat=True).distinct())


def hours_called(rows: QuerySet[UsageRollup], *, before: datetime, count: int) -> list[datetime]:
    """Hours before a moment, newest first, that hold at least ``count`` calls of ``rows``."""
    hours = rows.filter(span=Span.HOUR, starts_at__lt=before).order_by("-starts_at")
    # Each row counts at least one call.
    return list(dict.fromkeys(hours.values_list("starts_at", flat=True)[:count]))


def histograms(rows: QuerySet[Any], name: str, cells: str) -> dict[Any, dict[int, int]]:
    """Histograms by the values of a field, summed over the ``cells`` of its rows."""
    inner, parameters = rows.order_by().values_list(name, cells).query.sql_with_params()
    found: dict[Any, dict[int, int]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(HISTOGRAM_SQL.format(rows=inner), parameters)
        for label, bucket, calls in cursor.fetchall():
            found[label][bucket] = calls
    return found


def merged(parts: Iterable[Histogram]) -> Histogram:
    """The sum of several histograms."""
    whole: dict[int, int] = defaultdict(int)
    for histogram in parts:
        for bucket, calls in histogram.items():
            whole[bucket] += calls
    return whole
