"""Estimates how much faster or slower deployments are than the router expects.

Each call's record has the service time that the router expected of the chosen worker, and the
actual one. The estimate is the ratio of their sums, not a mean of ratios; its interval is by
linearisation (Cochran 1977, ratio estimators). An error common to all deployments of a route, such
as sizes predicted too high, does not change which is faster: weights correct differences only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import scipy

from marketplace.routing.trials.evidence import Bias
from marketplace.tuning.drift.detection import STEP_MAX, stepped

LEVEL = 0.01
DEADBAND = 0.05
"""A smaller error is not corrected, even if it is significant."""
WEIGHT_MIN, WEIGHT_MAX = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sums over the calls of a deployment: actual (a) and expected (x) service time, in ms."""

    deployment_id: int
    samples: int
    a: float
    x: float
    aa: float
    xx: float
    ax: float

    @property
    def ratio(self) -> float:
        return self.a / self.x

    def ratio_variance(self) -> float:
        """The variance of the estimated ratio."""
        r, n = self.ratio, self.samples
        left_over = self.aa - 2 * r * self.ax + r * r * self.xx  # Squared residuals.
        return max(left_over, 0.0) / (n - 1) * n / self.x**2


def is_off(bias: Bias, weight: float) -> bool:
    """Whether ``weight`` significantly differs from the one that corrects the bias."""
    return bias.low * weight > 1 + DEADBAND or bias.high * weight < 1 - DEADBAND


def biases(pairs: Sequence[Pairs], samples_min: int) -> list[Bias]:
    """The biases of deployments with enough samples; empty with fewer than two of them."""
    known = [pair for pair in pairs if pair.samples >= max(samples_min, 2) and pair.x > 0]
    if len(known) < 2:
        return []
    quantile = float(scipy.stats.norm.ppf(1 - LEVEL / 2))
    found: list[Bias] = []
    for pair in known:
        others = [other for other in known if other is not pair]
        all_x = sum(each.x for each in known)
        route_ratio = sum(each.a for each in known) / all_x
        # The whole includes the deployment: its own share cancels out of the derivative.
        own = 1 / route_ratio - pair.ratio / route_ratio**2 * pair.x / all_x
        variance = own**2 * pair.ratio_variance() + sum(
            (pair.ratio / route_ratio**2 * other.x / all_x) ** 2 * other.ratio_variance()
            for other in others
        )
        ratio, half = pair.ratio / route_ratio, quantile * math.sqrt(variance)
        found.append(Bias(pair.deployment_id, pair.samples, ratio, ratio - half, ratio + half))
    return found


def weights_after(weights: Mapping[int, float], found: Sequence[Bias]) -> dict[int, float] | None:
    """The weights after one step; None if no weight changes."""
    changed = dict(weights)
    for bias in found:
        now = weights.get(bias.deployment_id, 1.0)
        if is_off(bias, now):
            wanted = min(max(1 / bias.ratio, WEIGHT_MIN), WEIGHT_MAX)
            changed[bias.deployment_id] = round(stepped(now, wanted, STEP_MAX), 4)
    rounded = {key: value for key, value in changed.items() if value != 1.0 or key in weights}
    return rounded if rounded != dict(weights) else None
