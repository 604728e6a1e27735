"""Detects that live traffic drifts from the profile in force, and bounds the step that follows it.

Welch's test (1947) compares the mean of a window's calls with the profile. The tolerance is the
null hypothesis: there is a drift if the whole interval of the ratio lies outside of it.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import scipy

TOLERANCE = 0.2
"""A live mean within this share of its profile is no drift."""
LEVEL = 0.001
"""Chance of a false alarm at each test if the true ratio is just tolerated."""
SAMPLES_MIN = 100
STEP_MAX = 0.2
"""The greatest relative change by one step."""


@dataclass(frozen=True, slots=True)
class Live:
    """A deployment's completed calls in a window: mean service time in ms, variance in ms².

    ``at_once`` is the mean number that ran on one worker (Little 1961).
    """

    deployment_id: int
    samples: int
    mean_ms: float
    variance: float
    at_once: float = 1.0


@dataclass(frozen=True, slots=True)
class Drift:
    """The ratio of live to profile with its interval, and whether that is a drift."""

    ratio: float
    low: float
    high: float
    is_drift: bool


def alone_ms(live: Live, batch_curve: Sequence[Sequence[float]]) -> float:
    """The live mean scaled to one request alone, by the profile's batch curve."""
    return live.mean_ms / curve_factor(batch_curve, live.at_once)


def curve_factor(batch_curve: Sequence[Sequence[float]], at_once: float) -> float:
    """Service time at this concurrency over that of one request; linear between the points."""
    points = [(1.0, 1.0), *((float(n), float(factor)) for n, factor in batch_curve if n > 1)]
    for (left, low), (right, high) in itertools.pairwise(points):
        if at_once <= right:
            return low + (high - low) * max(at_once - left, 0.0) / (right - left)
    return points[-1][1]


def drift_of(live: Live, profile_ms: float, profile_samples: int, factor: float = 1.0) -> Drift:
    """Compare a window with a profile of ``profile_ms``, both at the batch ``factor``.

    A profile without samples (given, published) counts as exact; others are assumed to have the
    live calls' relative variance. The interval is by linearisation (Cochran 1977), which scales
    the profile's error by the ratio.
    """
    expected = profile_ms * factor
    ratio = live.mean_ms / expected
    if live.samples < 2:
        return Drift(ratio, 0.0, math.inf, is_drift=False)
    own = live.variance / live.samples
    other = 0.0
    if profile_samples:
        # Of the mean as large as it is, and times the ratio, as it stands below it.
        other = live.variance / profile_samples
    freedom = float(live.samples - 1)
    if own > 0 and other > 0 and profile_samples > 1:
        freedom = (own + other) ** 2 / (
            own**2 / (live.samples - 1) + other**2 / (profile_samples - 1)
        )
    half = float(scipy.stats.t.ppf(1 - LEVEL / 2, freedom)) * math.sqrt(own + other) / expected
    low, high = ratio - half, ratio + half
    outside = low > 1 + TOLERANCE or high < 1 - TOLERANCE
    return Drift(ratio, low, high, is_drift=outside and live.samples >= SAMPLES_MIN)


def stepped(now: float, wanted: float, step: float = STEP_MAX) -> float:
    """``wanted``, or the nearest value that one step can reach."""
    return min(max(wanted, now * (1 - step)), now * (1 + step))
