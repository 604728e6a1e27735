"""What calls took, over all customers: figures only, nobody's requests."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Aggregate, FloatField, Q

_SQL = """
SELECT model, count(*),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_ms),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY total_ms),
       sum(completion_tokens) / nullif(sum(total_ms - queue_ms), 0) * 1000
FROM usage_event WHERE outcome = 'completed' AND created_at >= %s GROUP BY model
"""


class Percentile(Aggregate):
    """``Percentile("total_ms", 0.95)``: interpolated, as PostgreSQL does it; None over no rows."""

    function = "percentile_cont"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"

    def __init__(self, expression: str, fraction: float, *, filter: Q | None = None) -> None:
        super().__init__(
            expression, filter=filter, output_field=FloatField(), fraction=float(fraction)
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """``tokens_per_s`` is None for models that generate none."""

    calls: int
    ttft_ms_p50: float
    total_ms_p50: float
    total_ms_p99: float
    tokens_per_s: float | None


def measured_by_model(*, since: datetime) -> dict[str, Measured]:
    """Completed calls since a moment, by public model name."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [since])
        return {
            model: Measured(calls, ttft, total, total_p99, float(rate) if rate else None)
            for model, calls, ttft, total, total_p99, rate in cursor.fetchall()
        }
