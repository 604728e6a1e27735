"""Reading what calls came to by deployment, over all customers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q

from marketplace.usage.latency import percentile
from marketplace.usage.models import DeploymentRollup
from marketplace.usage.windows import Window
from router.domain.outcome import Outcome

PLACED = ~Q(outcome=Outcome.REJECTED)
FAULTS = Q(outcome__in=(Outcome.WORKER_FAILED, Outcome.TRUNCATED))
"""What counts as reaching a worker and as its fault, as ``sql/deployments.sql`` has it."""
CELL_BITS = 32
_SUMS = (
    "calls",
    "placed",
    "faults",
    "completed",
    "tokens_in",
    "tokens_out",
    "tokens_answered",
    "rows",
    "images",
    "queue_ms",
    "ttft_ms",
    "total_ms",
)


@dataclass(slots=True)
class Measured:
    """What some calls came to. Times are sums in ms and histograms over ``completed`` calls."""

    calls: int = 0
    placed: int = 0
    faults: int = 0
    completed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_answered: int = 0
    rows: int = 0
    images: int = 0
    queue_ms: float = 0.0
    ttft_ms: float = 0.0
    total_ms: float = 0.0
    ttft: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    total: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, row: DeploymentRollup) -> None:
        """Count a rollup's calls too."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(row, name))
        for cells, histogram in ((row.ttft_cells, self.ttft), (row.total_cells, self.total)):
            for cell in cells:
                histogram[cell >> CELL_BITS] += cell & ((1 << CELL_BITS) - 1)

    @property
    def uptime(self) -> float | None:
        """The share of calls that a worker got and did not fail; None without any."""
        return 1 - self.faults / self.placed if self.placed else None

    @property
    def fault_percent(self) -> float | None:
        return 100 * self.faults / self.placed if self.placed else None

    @property
    def ttft_ms_p50(self) -> float | None:
        return percentile(self.ttft, 0.5)

    @property
    def ttft_ms_p99(self) -> float | None:
        return percentile(self.ttft, 0.99)

    @property
    def total_ms_p50(self) -> float | None:
        return percentile(self.total, 0.5)

    @property
    def total_ms_p99(self) -> float | None:
        return percentile(self.total, 0.99)

    @property
    def tokens_per_s(self) -> float | None:
        """Of one call, from when a worker took it to its end."""
        busy_ms = self.total_ms - self.queue_ms
        return 1000 * self.tokens_answered / busy_ms if self.tokens_answered and busy_ms else None

    @property
    def token_ms(self) -> float | None:
        """A token's after the first byte; None where no tokens came.

        Calls that were not streamed count whole, and so do streams that came in one piece: no
        token takes no time.
        """
        rest_ms = self.total_ms - self.ttft_ms
        if rest_ms <= 0:
            rest_ms = self.total_ms - self.queue_ms
        if rest_ms <= 0:
            return None
        return rest_ms / self.tokens_answered if self.tokens_answered else None

    @property
    def busy_ms(self) -> float | None:
        """The mean time that a call kept a worker."""
        return (self.total_ms - self.queue_ms) / self.completed if self.completed else None


def rollups_in(models: Iterable[str], window: Window) -> list[DeploymentRollup]:
    """The rollups of these models' calls in a window, by time. One query."""
    return list(
        DeploymentRollup.objects.filter(
            model__in=list(models),
            span=window.span,
            starts_at__gte=window.start,
            starts_at__lt=window.until,
        ).order_by("starts_at", "deployment_id")
    )


def measured_by(
    rows: Iterable[DeploymentRollup], key: Callable[[DeploymentRollup], Any]
) -> dict[Any, Measured]:
    """What the rollups with the same key come to together."""
    found: dict[Any, Measured] = {}
    for row in rows:
        found.setdefault(key(row), Measured()).add(row)
    return found


def measured_sum(rows: Sequence[DeploymentRollup]) -> Measured:
    """What all of the rollups come to."""
    return measured_by(rows, lambda _row: None).get(None, Measured())


def steps_of(rows: Iterable[DeploymentRollup], window: Window) -> list[tuple[datetime, Measured]]:
    """A chart's steps, those without a call too."""
    by_time = measured_by(rows, lambda row: row.starts_at)
    return [(at, by_time.get(at, Measured())) for at in window.points]
