"""What is still running is evidence too.

A service that has lasted ``age`` seconds takes at least that long (a right-censored observation).
When the requests on a worker are, on average, older than one and a half times what they should have
taken, the worker is taken to be that much slower, so that a hung worker loses its appeal before
anything has completed or failed.
"""

from collections.abc import Sequence
from math import inf
from typing import Protocol

AGE_TOLERANCE = 1.5
RESIDUAL_FLOOR = 0.25
"""Share of the expected service that an overdue request is still taken to need."""


class Running(Protocol):
    """What runs: since when, and how long it should take."""

    started_s: float

    @property
    def expected_s(self) -> float:
        """Seconds of service that it should take."""
        ...


def slowdown(running: Sequence[Running], now_s: float) -> float:
    """How many times slower than estimated a worker looks, at least 1."""
    age = expected = 0.0
    for attempt in running:
        age += now_s - attempt.started_s
        expected += attempt.expected_s
    tolerated = AGE_TOLERANCE * expected
    return age / tolerated if age > tolerated > 0 else 1.0


def overdue_after_s(running: Sequence[Running]) -> float:
    """When :func:`slowdown` begins to exceed 1, if nothing ends before."""
    if not running:
        return inf
    total = sum(attempt.started_s + AGE_TOLERANCE * attempt.expected_s for attempt in running)
    return total / len(running)
