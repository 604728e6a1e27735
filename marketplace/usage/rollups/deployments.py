"""Reading sums of calls by deployment, over all customers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q, Sum

from marketplace.usage.models import DeploymentRollup, Span
from marketplace.usage.rollups.latency import percentile
from marketplace.usage.windows import DEFAULT, RANGES, Window
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
    def streamed(self) -> int:
        """How many calls were streamed: only they have a first byte."""
        return sum(self.ttft.values())

    @property
    def token_ms(self) -> float | None:
        """The time of a token after the first byte, in ms; None without tokens.

        Calls that were not streamed have no first byte of their own: they count with the mean of
        those that were. The whole time counts where nothing was streamed, or in one piece: else a
        token would take no time.
        """
        share = self.streamed / self.completed if self.completed else 0
        rest_ms = self.total_ms - (self.ttft_ms / share if share else 0)
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


def first_hour(model: str, now: datetime) -> datetime | None:
    """The first hour of the last week in which a worker got a call of the model. One query."""
    hours = DeploymentRollup.objects.filter(
        model=model,
        span=Span.HOUR,
        starts_at__gte=now - RANGES[DEFAULT][1],
        placed__gt=0,
    )
    return hours.order_by("starts_at").values_list("starts_at", flat=True).first()


def mean_ms_by_step(models: Iterable[str], window: Window) -> dict[str, list[float | None]]:
    """By model the mean time of whole calls in each step of a window, in ms. One query."""
    rows = DeploymentRollup.objects.filter(
        model__in=list(models),
        span=window.span,
        starts_at__gte=window.start,
        starts_at__lt=window.until,
        completed__gt=0,
    )
    sums = rows.order_by().values_list("model", "starts_at")
    means: dict[str, dict[datetime, float]] = defaultdict(dict)
    for model, at, mean in sums.annotate(mean=Sum("total_ms") / Sum("completed")):
        means[model][at] = mean
    return {model: [steps.get(at) for at in window.points] for model, steps in means.items()}


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
