"""Seconds as a sum of positive terms, learned one observation at a time.

``seconds = w · x`` with every weight above zero. An observation moves each weight by its share of
the prediction (exponentiated gradient on the log error; Kivinen and Warmuth 1997). So no term can
turn negative, and a wrong term fades instead of being balanced by another. Least squares with
forgetting diverges where inputs move together, as an engine's do.
"""

from collections.abc import Sequence
from math import exp, log, sqrt
from operator import mul

RATE_FIRST = 0.5
RATE_MIN = 0.04
RATE_HALF = 10
"""After this many observations the learning rate is half of the first."""

MISSED_MAX = 1.5
"""The largest log error that one observation counts for: a hiccup is no news."""

WEIGHT_MIN = 1e-6
SECONDS_MIN = 1e-3


class PositiveFit:
    """See the module. ``weights`` begin as a guess of the right order of magnitude."""

    __slots__ = ("samples", "weights")

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = list(weights)
        self.samples = 0

    def remember(self, weights: Sequence[float], samples: int) -> None:
        """Take over the weights of an earlier run; new observations soon replace them."""
        self.weights = list(weights)
        self.samples = min(samples, RATE_HALF)

    def benchmarked(self, weights: Sequence[float]) -> None:
        """There is a new benchmark. It and what was learned count alike (by their logs) and only
        for a few observations.
        """
        if self.samples:
            weights = [
                sqrt(own * measured) for own, measured in zip(self.weights, weights, strict=True)
            ]
        self.remember(weights, RATE_HALF)

    def seconds(self, x: Sequence[float]) -> float:
        """The expected seconds for these inputs."""
        return max(sum(map(mul, self.weights, x)), SECONDS_MIN)

    def learn(self, x: Sequence[float], seconds: float, weight: float = 1.0) -> None:
        """These inputs took ``seconds``. ``weight`` below 1 is for a less certain observation."""
        expected = self.seconds(x)
        missed = log(max(seconds, SECONDS_MIN) / expected)
        missed = max(-MISSED_MAX, min(missed, MISSED_MAX))
        rate = weight * max(RATE_MIN, RATE_FIRST / (1 + self.samples / RATE_HALF))
        step = rate * missed / expected
        self.weights = [
            max(known * exp(step * known * value), WEIGHT_MIN)
            for known, value in zip(self.weights, x, strict=True)
        ]
        self.samples += 1
