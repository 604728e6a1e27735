"""Learns from what is still running.

A service that has lasted ``age`` seconds takes at least that long (a right-censored observation).
If the requests on a worker are on average older than one and a half times their expected service,
the worker is assumed to be that much slower. So a hung worker loses its appeal before anything has
completed or failed.
"""

from collections.abc import Collection
from math import inf
from typing import Protocol

AGE_TOLERANCE = 1.5
RESIDUAL_FLOOR = 0.25
"""The share of its expected service that an overdue request is still expected to need."""


class Running(Protocol):
    """Something that runs: since when, and how long it should take."""

    started_s: float

    @property
    def expected_s(self) -> float:
        """Expected seconds of service."""
        ...


def evidence(running: Collection[Running], now_s: float) -> tuple[float, float]:
    """How many times slower than estimated a worker looks (at least 1), and from when on it looks
    slower if nothing ends before.
    """
    if not running:
        return 1.0, inf
    started = expected = 0.0
    for attempt in running:
        started += attempt.started_s
        expected += attempt.expected_s
    count = len(running)
    tolerated = AGE_TOLERANCE * expected
    age = count * now_s - started
    return (age / tolerated if age > tolerated > 0 else 1.0), (started + tolerated) / count
