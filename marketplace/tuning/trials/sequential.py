"""Sequential tests: they may be read after every call, and their level holds over all readings.

Misses: a missed call is the canary's with a probability of the canary's share, however the load
moves both arms. The test is that of Lindon and Malek (2022, "Anytime-valid inference for
multinomial count data"), exact at any count. Latencies: their logs are compared with the mixture
sequential probability ratio test of Johari, Pekelis and Walsh (2015, 2022, "Always valid
inference"), which holds for large counts.
"""

import math

import scipy

LOG_RATIO_SCALE = 0.1
"""The difference of mean log latency that the test is tuned to: about 10 %."""
UNDERFLOW = 1e-300


def log_evidence_more(canary: int, control: int, share: float) -> float:
    """Log of the evidence that the canary has more than its ``share`` of the misses.

    If it has no more, this is the log of a test martingale: the probability that it ever exceeds
    ``log(1/level)`` is at most ``level`` (Ville 1939). The prior over larger shares is uniform.
    """
    posterior = float(scipy.special.betaincc(canary + 1, control + 1, share))
    if posterior < UNDERFLOW:
        # So few misses that the likelihood falls from the share on: integrate by its slope there.
        return -math.log((1 - share) * (control / (1 - share) - canary / share))
    return (
        float(scipy.special.betaln(canary + 1, control + 1))
        + math.log(posterior)
        - math.log1p(-share)
        - float(scipy.special.xlogy(canary, share) + scipy.special.xlog1py(control, -share))
    )


def log_evidence_fewer(canary: int, control: int, share: float) -> float:
    """As :func:`log_evidence_more`, for fewer than its share."""
    return log_evidence_more(control, canary, 1 - share)


def rate_bounds(misses: int, calls: int, level: float) -> tuple[float, float]:
    """A confidence sequence of a miss rate: ``level`` bounds the chance that a side is ever wrong.

    From the beta-binomial mixture of Robbins (1970) under Jeffreys' prior.
    """
    if calls == 0:
        return 0.0, 1.0
    hits = calls - misses
    mixture = float(scipy.special.betaln(misses + 0.5, hits + 0.5) - scipy.special.betaln(0.5, 0.5))
    bar = mixture + math.log(level)

    def excess(rate: float) -> float:
        return float(scipy.special.xlogy(misses, rate) + scipy.special.xlog1py(hits, -rate)) - bar

    rate, tiny = misses / calls, 1e-12
    low, high = 0.0, 1.0
    if misses and excess(tiny) < 0:
        low = float(scipy.optimize.brentq(excess, tiny, min(rate, 1 - tiny)))
    if hits and excess(1 - tiny) < 0:
        high = float(scipy.optimize.brentq(excess, max(rate, tiny), 1 - tiny))
    return low, high


def mean_bounds(difference: float, variance: float, level: float) -> tuple[float, float]:
    """Always-valid bounds of a difference of two means, whose estimate has this ``variance``.

    ``level`` is for both sides together. Each arm needs some dozens of samples.
    """
    if variance <= 0:
        return difference, difference
    scale = LOG_RATIO_SCALE**2
    together = variance + scale
    spread = math.log(math.sqrt(together / variance) / level)
    half = math.sqrt(2 * variance * together / scale * spread)
    return difference - half, difference + half
