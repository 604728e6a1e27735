"""A line as small as a word: how long calls of a model took, hour by hour."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 100, 24, 2
"""Of its view box; ``MARGIN`` is above the highest point and below the lowest."""
POINTS_MIN = 2


@dataclass(frozen=True, slots=True)
class Sparkline:
    """``points`` of an SVG polyline, and the least and the greatest value in ms."""

    points: str
    low_ms: float
    high_ms: float


def sparkline(values_ms: Sequence[float | None]) -> Sparkline | None:
    """The line over equal steps, across those without a value; None for a single point."""
    known = [(i, value) for i, value in enumerate(values_ms) if value is not None]
    if len(known) < POINTS_MIN:
        return None
    low, high = min(value for _i, value in known), max(value for _i, value in known)
    step, scale = WIDTH / (len(values_ms) - 1), (HEIGHT - 2 * MARGIN) / ((high - low) or 1)
    points = (f"{i * step:.1f},{HEIGHT - MARGIN - (value - low) * scale:.1f}" for i, value in known)
    return Sparkline(" ".join(points), low, high)
