"""Finds a better ``wait_weight`` or ``hedge_share`` by replaying recorded arrivals.

The arrivals are cut into stretches, each replayed under every candidate with its own seed. A
candidate is better if its gain over the policy in force, paired by stretch, is significantly above
zero (Student's t, level shared among the candidates) and large enough.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import scipy

from marketplace.routing.trials.evidence import Gain
from marketplace.tuning.drift.detection import STEP_MAX
from router.domain.catalog import Policy
from router.simulator.slots.compare import Figures
from router.simulator.workload import Arrival

Replay = Callable[[Sequence[Arrival], Sequence[Policy], int], Sequence[Figures]]
"""Takes arrivals, policies and a seed; returns the figures of each policy."""

STRETCHES = 5
ARRIVALS_MIN = 500
LEVEL = 0.05
GAIN_MIN = 0.02
WAIT_WEIGHT_MIN, WAIT_WEIGHT_MAX = 0.1, 100.0
HEDGE_SHARE_MAX = 0.2
HEDGE_SHARE_START = 0.01
"""The first step from 0, where relative steps do not move."""


def candidates(policy: Policy) -> list[tuple[str, float, str]]:
    """A step up and down of each tunable: field, value, and the figure that judges it."""
    up, down = 1 + STEP_MAX, 1 - STEP_MAX
    waits = {round(min(max(policy.wait_weight * by, 0.1), 100.0), 4) for by in (up, down)}
    hedges = {round(min(policy.hedge_share * by, HEDGE_SHARE_MAX), 4) for by in (up, down)}
    if policy.hedge_share == 0:
        hedges = {HEDGE_SHARE_START}
    return [
        *(("wait_weight", value, "mean_ms") for value in sorted(waits - {policy.wait_weight})),
        *(("hedge_share", value, "p99_ms") for value in sorted(hedges - {policy.hedge_share})),
    ]


def best(policy: Policy, arrivals: Sequence[Arrival], replay: Replay) -> Gain | None:
    """The candidate with the largest significant gain, or None."""
    if len(arrivals) < ARRIVALS_MIN:
        return None
    options = candidates(policy)
    tried = [policy, *(msgspec.structs.replace(policy, **{f: v}) for f, v, _ in options)]
    by_stretch = [
        replay(stretch, tried, seed) for seed, stretch in enumerate(stretches(arrivals), start=1)
    ]
    gains = [
        _gain(option, place, by_stretch, len(options), len(arrivals))
        for place, option in enumerate(options, start=1)
    ]
    sure = [gain for gain in gains if gain.low > 0 and gain.gain >= GAIN_MIN]
    return max(sure, key=lambda gain: gain.gain, default=None)


def stretches(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    """Consecutive parts with equal counts, each beginning at second 0."""
    size = len(arrivals) // STRETCHES
    parts = [arrivals[place * size : (place + 1) * size] for place in range(STRETCHES)]
    return [
        [msgspec.structs.replace(arrival, at_s=arrival.at_s - part[0].at_s) for arrival in part]
        for part in parts
    ]


def _gain(
    option: tuple[str, float, str],
    place: int,
    by_stretch: Sequence[Sequence[Figures]],
    options: int,
    arrivals: int,
) -> Gain:
    field, value, figure = option
    before = [getattr(figures[0], figure) for figures in by_stretch]
    after = [getattr(figures[place], figure) for figures in by_stretch]
    shares = [1 - new / old if old else 0.0 for old, new in zip(before, after, strict=True)]
    count = len(shares)
    mean = sum(shares) / count
    variance = sum((share - mean) ** 2 for share in shares) / (count - 1)
    half = float(scipy.stats.t.ppf(1 - LEVEL / options, count - 1)) * math.sqrt(variance / count)
    return Gain(
        field=field,
        value=value,
        figure=figure,
        before_ms=sum(before) / count,
        after_ms=sum(after) / count,
        gain=mean,
        low=mean - half,
        stretches=count,
        arrivals=arrivals,
    )
