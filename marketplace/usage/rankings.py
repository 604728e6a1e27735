"""Ranks models over all customers' calls, from sums that are kept of what is over."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from marketplace.usage.models import (
    DeploymentRollup,
    ModelHistory,
    ModelRanking,
    RankingWindow,
)
from marketplace.usage.rollups.deployments import CELL_BITS
from marketplace.usage.rollups.latency import percentile
from marketplace.usage.rollups.selectors import histograms
from marketplace.usage.turns import turn_wait
from marketplace.usage.windows import Window, edges_of, window_of


@dataclass(slots=True)
class _Sums:
    calls: int = 0
    completed: int = 0
    tokens: int = 0
    tokens_answered: int = 0
    busy_ms: float = 0.0
    ttft: Counter[int] = field(default_factory=Counter)
    total: Counter[int] = field(default_factory=Counter)

    def add(self, other: "_Sums") -> None:
        self.calls += other.calls
        self.completed += other.completed
        self.tokens += other.tokens
        self.tokens_answered += other.tokens_answered
        self.busy_ms += other.busy_ms
        self.ttft.update(other.ttft)
        self.total.update(other.total)


@transaction.atomic
def rankings_compute(*, afresh: bool = False) -> int:
    """Bring the rankings of all windows up to date; returns how many models were ranked.

    Reads what may still change, and of the rest one sum of each model. That is made anew when the
    window moves on, or ``afresh``: after sums of long ago changed.
    """
    turn_wait(ModelRanking)
    now, ranked = timezone.now(), 0
    ModelRanking.objects.all().delete()
    for name in RankingWindow:
        # The same rollups as in the chart next to the ranking.
        window = window_of({"range": name}, now)
        edge = edges_of(now)[window.span]
        sums = _history(name, window, edge, afresh=afresh)
        for model, lately in _sums(_rollups(window).filter(starts_at__gte=edge)).items():
            sums.setdefault(model, _Sums()).add(lately)
        rows = [_ranking(name, model, of, now) for model, of in sums.items()]
        ranked += len(ModelRanking.objects.bulk_create(rows))
    return ranked


def _history(
    name: RankingWindow, window: Window, edge: datetime, *, afresh: bool
) -> dict[str, _Sums]:
    """Sums by model before ``edge``, kept or made anew."""
    kept = ModelHistory.objects.filter(window=name)
    whole = kept.filter(starts_at=window.start, until=edge)
    if not afresh and (found := list(whole)):
        return {
            row.model: _Sums(
                row.calls,
                row.completed,
                row.tokens,
                row.tokens_answered,
                row.busy_ms,
                _counted(row.ttft_cells),
                _counted(row.total_cells),
            )
            for row in found
        }
    kept.delete()
    sums = _sums(_rollups(window).filter(starts_at__lt=edge))
    ModelHistory.objects.bulk_create(
        ModelHistory(
            window=name,
            model=model,
            starts_at=window.start,
            until=edge,
            calls=of.calls,
            completed=of.completed,
            tokens=of.tokens,
            tokens_answered=of.tokens_answered,
            busy_ms=of.busy_ms,
            ttft_cells=_cells(of.ttft),
            total_cells=_cells(of.total),
        )
        for model, of in sums.items()
    )
    return sums


def _rollups(window: Window) -> QuerySet[DeploymentRollup]:
    return DeploymentRollup.objects.filter(span=window.span, starts_at__gte=window.start)


def _sums(rows: QuerySet[DeploymentRollup]) -> dict[str, _Sums]:
    """Sums by model. Three queries."""
    ttft = histograms(rows, "model", "ttft_cells")
    total = histograms(rows, "model", "total_cells")
    by_model: QuerySet[Any, Any] = (
        rows.order_by()
        .values("model")
        .annotate(
            sum_calls=Sum("calls"),
            sum_completed=Sum("completed"),
            sum_tokens=Sum(F("tokens_in") + F("tokens_out")),
            sum_answered=Sum("tokens_answered"),
            sum_busy_ms=Sum(F("total_ms") - F("queue_ms")),
        )
    )
    return {
        row["model"]: _Sums(
            row["sum_calls"],
            row["sum_completed"],
            row["sum_tokens"],
            row["sum_answered"],
            row["sum_busy_ms"],
            Counter(ttft.get(row["model"], {})),
            Counter(total.get(row["model"], {})),
        )
        for row in by_model
    }


def _ranking(name: RankingWindow, model: str, of: _Sums, now: datetime) -> ModelRanking:
    return ModelRanking(
        window=name,
        model=model,
        calls=of.calls,
        completed=of.completed,
        tokens=of.tokens,
        ttft_ms_p50=percentile(of.ttft, 0.5),
        total_ms_p50=percentile(of.total, 0.5),
        tokens_per_s=1000 * of.tokens_answered / (of.busy_ms or 1) or None,
        computed_at=now,
    )


def _cells(histogram: Counter[int]) -> list[int]:
    return [(bucket << CELL_BITS) + calls for bucket, calls in sorted(histogram.items())]


def _counted(cells: Iterable[int]) -> Counter[int]:
    counted: Counter[int] = Counter()
    for cell in cells:
        counted[cell >> CELL_BITS] += cell & ((1 << CELL_BITS) - 1)
    return counted
