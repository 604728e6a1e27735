"""Tests that may be looked at after every call: their level holds over all looks together.

Misses are counted: given that a call missed, whether it was the canary's is a coin with the
canary's share, however the load of the hour moved both arms. That is the test of Lindon and Malek
(2022, "Anytime-valid inference for multinomial count data"), and exact at any count. Latencies are
compared by their logs with the mixture sequential probability ratio test of Johari, Pekelis and
Walsh (2015, 2022, "Always valid inference"), which is right for large counts.
"""

import math

from scipy.optimize import brentq
from scipy.special import betaincc, betaln, xlog1py, xlogy

LOG_RATIO_SCALE = 0.1
"""Differences of mean log latency that the test is tuned to see: some 10 %."""
UNDERFLOW = 1e-300


def log_evidence_more(canary: int, control: int, share: float) -> float:
    """Log of the evidence that the canary has more than its ``share`` of the misses.

    A test martingale while it has no more: it exceeds ``log(1/level)``, ever, with probability at
    most ``level`` (Ville 1939). The alternatives are all larger shares alike.
    """
    posterior = float(betaincc(canary + 1, control + 1, share))
    if posterior < UNDERFLOW:
        # So few that the likelihood falls from the share on: its integral is that of its slope.
        return -math.log((1 - share) * (control / (1 - share) - canary / share))
    return (
        float(betaln(canary + 1, control + 1))
        + math.log(posterior)
        - math.log1p(-share)
        - float(xlogy(canary, share) + xlog1py(control, -share))
    )


def log_evidence_fewer(canary: int, control: int, share: float) -> float:
    """The same for fewer."""
    return log_evidence_more(control, canary, 1 - share)


def rate_bounds(misses: int, calls: int, level: float) -> tuple[float, float]:
    """A confidence sequence of a miss rate: each side is wrong at any time by ``level`` at most.

    From the beta-binomial mixture of Robbins (1970) under Jeffreys' prior.
    """
    if calls == 0:
        return 0.0, 1.0
    hits = calls - misses
    mixture = float(betaln(misses + 0.5, hits + 0.5) - betaln(0.5, 0.5))
    bar = mixture + math.log(level)

    def excess(rate: float) -> float:
        return float(xlogy(misses, rate) + xlog1py(hits, -rate)) - bar

    rate, tiny = misses / calls, 1e-12
    low = float(brentq(excess, tiny, min(rate, 1 - tiny))) if misses and excess(tiny) < 0 else 0.0
    high = (
        float(brentq(excess, max(rate, tiny), 1 - tiny)) if hits and excess(1 - tiny) < 0 else 1.0
    )
    return low, high


def mean_bounds(difference: float, variance: float, level: float) -> tuple[float, float]:
    """Always-valid bounds around a difference of two means with this ``variance`` of its own.

    ``level`` is for both sides together. Needs some dozens of samples in each arm.
    """
    if variance <= 0:
        return difference, difference
    scale = LOG_RATIO_SCALE**2
    together = variance + scale
    spread = math.log(math.sqrt(together / variance) / level)
    half = math.sqrt(2 * variance * together / scale * spread)
    return difference - half, difference + half
