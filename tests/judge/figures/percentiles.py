"""Percentiles."""

from collections.abc import Sequence


def percentile(ascending: Sequence[float], share: float) -> float:
    """Interpolated linearly; 0 of nothing."""
    if not ascending:
        return 0.0
    at = (len(ascending) - 1) * share
    low = int(at)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (at - low)


def mean(values: Sequence[float]) -> float:
    """0 of nothing."""
    return sum(values) / len(values) if values else 0.0
