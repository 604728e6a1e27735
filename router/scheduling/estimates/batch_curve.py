"""Service time against concurrency, for engines that batch.

An engine with continuous batching runs a request slower the more requests run beside it. The curve
holds ``(concurrency, factor)`` points from a benchmark; the factor is service time relative to a
request alone. The curve is linear between points, and keeps its slope beyond the last one. Without
points, slots do not slow each other (one process each, or a device with a queue).
"""

from collections.abc import Sequence
from itertools import pairwise


class BatchCurve:
    """See the module. Raises ``ValueError`` unless the points have rising concurrency."""

    __slots__ = ("_factors", "_points", "is_flat")

    def __init__(self, points: Sequence[tuple[int, float]] = ()) -> None:
        if any(b <= a for (a, _), (b, _) in pairwise(points)):
            raise ValueError(f"batch curve {points!r}: concurrency must rise from point to point")
        if any(concurrency < 1 or factor <= 0 for concurrency, factor in points):
            raise ValueError(f"batch curve {points!r}: concurrency and factor must be positive")
        self._points = tuple(points)
        self.is_flat = not points
        """Whether concurrency makes no difference."""
        self._factors: dict[int, float] = {}

    def factor(self, concurrency: int) -> float:
        """Service time with ``concurrency`` requests running, relative to one alone."""
        if not self._points:
            return 1.0
        known = self._factors.get(concurrency)
        if known is None:
            known = self._factors[concurrency] = self._interpolate(concurrency)
        return known

    def _interpolate(self, concurrency: int) -> float:
        low, low_factor = 1, 1.0
        slope = 0.0
        for high, high_factor in self._points:
            if high > low:
                slope = (high_factor - low_factor) / (high - low)
            if concurrency <= high:
                break
            low, low_factor = high, high_factor
        return max(low_factor + slope * (concurrency - low), FACTOR_MIN)


FACTOR_MIN = 0.01
"""The lowest factor to which a falling curve is extended."""
