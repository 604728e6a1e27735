"""A deployment's calls over time, its share of its model's calls, and its workers' health."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Sum

from marketplace.catalog.models import Deployment
from marketplace.usage.models import UsageRollup
from marketplace.usage.rollups.selectors import Figures, figures_by, figures_sum
from marketplace.usage.windows import Window

NOBODY = 0
"""The deployment of calls that found no worker: they are nobody's share."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """``steps`` are a deployment's figures, with the calls of its whole model."""

    totals: Figures
    model_calls: int
    steps: Sequence[tuple[datetime, Figures, int]]

    @property
    def share(self) -> float | None:
        return self.totals.calls / self.model_calls if self.model_calls else None

    @property
    def failed_share(self) -> float | None:
        return self.totals.failed / self.totals.calls if self.totals.calls else None

    def columns(self) -> dict[str, list[Any]]:
        """For the charts: Unix seconds, and a value or null for each."""
        return {
            "at": [int(at.timestamp()) for at, _figures, _all in self.steps],
            "calls": [figures.calls for _at, figures, _all in self.steps],
            "failed": [figures.failed for _at, figures, _all in self.steps],
            "p50": [figures.total_ms_p50 for _at, figures, _all in self.steps],
            "p99": [figures.total_ms_p99 for _at, figures, _all in self.steps],
            "tokens_in": [figures.tokens_in for _at, figures, _all in self.steps],
            "tokens_out": [figures.tokens_out for _at, figures, _all in self.steps],
            "share": [
                100 * figures.calls / whole if whole else None for _at, figures, whole in self.steps
            ],
        }


def traffic_of(deployment: Deployment, window: Window) -> Traffic:
    """Over all customers. Three queries."""
    rows = _rows(window)
    mine = figures_by(rows.filter(deployment_id=deployment.pk), "starts_at", ttft=False)
    served = rows.filter(model=deployment.version.model.name).exclude(deployment_id=NOBODY)
    whole = {
        row["starts_at"]: row["n"]
        for row in served.order_by().values("starts_at").annotate(n=Sum("calls"))
    }
    steps = [(at, mine.get(at, Figures()), whole.get(at, 0)) for at in window.points]
    return Traffic(figures_sum(list(mine.values())), sum(whole.values()), steps)


def _rows(window: Window) -> QuerySet[UsageRollup]:
    return UsageRollup.objects.filter(
        span=window.span, starts_at__gte=window.start, starts_at__lt=window.until
    )
