"""Reading sums of calls by deployment, over all customers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q

from marketplace.usage.models import DeploymentRollup
from marketplace.usage.rollups.latency import percentile
from marketplace.usage.windows import Window
from router.domain.outcome import Outcome

PLACED = ~Q(outcome=Outcome.REJECTED)
FAULTS = Q(outcome__in=(Outcome.WORKER_FAILED, Outcome.TRUNCATED))
"""Which calls reached a worker, and which failed by its fault; as in ``sql/deployments.sql``."""
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
    """Sums over some calls. Times are sums in ms and histograms over ``completed`` calls."""

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
        """Add a rollup's calls."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(row, name))
        for cells, histogram in ((row.ttft_cells, self.ttft), (row.total_cells, self.total)):
            for cell in cells:
                histogram[cell >> CELL_BITS] += cell & ((1 << CELL_BITS) - 1)

    @property
    def uptime(self) -> float | None:
        """The share of placed calls that did not fail by a worker's fault; None without any."""
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
        """Tokens per second of one call, from when a worker took it to its end."""
        busy_ms = self.total_ms - self.queue_ms
        return 1000 * self.tokens_answered / busy_ms if self.tokens_answered and busy_ms else None

    @property
    def token_ms(self) -> float | None:
        """The time of a token after the first byte, in ms; None without tokens.

        The whole time counts for calls that were not streamed or whose stream came in one piece:
        else a token would take no time.
        """
        rest_ms = self.total_ms - self.ttft_ms
        if rest_ms <= 0:
            rest_ms = self.total_ms - self.queue_ms
        if rest_ms <= 0:
            return None
        return rest_ms / self.tokens_answered if self.tokens_answered else None

    @property
    def busy_ms(self) -> float | None:
        """The mean time that a call occupied a worker, in ms."""
        return (self.total_ms - self.queue_ms) / self.completed if self.completed else None


def rollups_in(models: Iterable[str], window: Window) -> list[DeploymentRollup]:
    """The rollups of these models in a window, ordered by time. One query."""
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
    """Sums over the rollups with the same key."""
    found: dict[Any, Measured] = {}
    for row in rows:
        found.setdefault(key(row), Measured()).add(row)
    return found


def measured_sum(rows: Sequence[DeploymentRollup]) -> Measured:
    """The sum over all rollups."""
    return measured_by(rows, lambda _row: None).get(None, Measured())


def steps_of(rows: Iterable[DeploymentRollup], window: Window) -> list[tuple[datetime, Measured]]:
    """The steps of a chart, including steps without a call."""
    by_time = measured_by(rows, lambda row: row.starts_at)
    return [(at, by_time.get(at, Measured())) for at in window.points]
