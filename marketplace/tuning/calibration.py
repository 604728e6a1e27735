"""How much faster or slower deployments are than the router expects, from its own records.

Each call's record has what the router expected of the worker that it chose, and what it took. Their
ratio, of sums and not a mean of ratios, has its interval by linearisation (Cochran 1977, ratio
estimators). What all deployments of a route have in common (sizes predicted too high or too low)
does not change who is faster: weights correct differences only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from marketplace.routing.trials.evidence import Bias
from marketplace.tuning.drift import STEP_MAX, stepped

LEVEL = 0.01
DEADBAND = 0.05
"""Off by less than this, for sure or maybe, is left alone."""
WEIGHT_MIN, WEIGHT_MAX = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sums over the calls of a deployment: actual (a) and expected (x) service, in ms."""

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
        """Of the ratio as an estimate."""
        r, n = self.ratio, self.samples
        left_over = self.aa - 2 * r * self.ax + r * r * self.xx  # Its mean is zero.
        return max(left_over, 0.0) / (n - 1) * n / self.x**2


def is_off(bias: Bias, weight: float) -> bool:
    """Whether ``weight`` is not what corrects it, for sure; 1 where nothing has to be."""
    return bias.low * weight > 1 + DEADBAND or bias.high * weight < 1 - DEADBAND


def biases(pairs: Sequence[Pairs], samples_min: int) -> list[Bias]:
    """Of the deployments with enough samples; none where there are not two to compare."""
    known = [one for one in pairs if one.samples >= max(samples_min, 2) and one.x > 0]
    if len(known) < 2:
        return []
    quantile = float(stats.norm.ppf(1 - LEVEL / 2))
    found: list[Bias] = []
    for one in known:
        others = [other for other in known if other is not one]
        all_x = sum(each.x for each in known)
        whole = sum(each.a for each in known) / all_x
        # The deployment is a part of the whole: only what is not its own share varies apart.
        own = 1 / whole - one.ratio / whole**2 * one.x / all_x
        variance = own**2 * one.ratio_variance() + sum(
            (one.ratio / whole**2 * other.x / all_x) ** 2 * other.ratio_variance()
            for other in others
        )
        ratio, half = one.ratio / whole, quantile * math.sqrt(variance)
        found.append(Bias(one.deployment_id, one.samples, ratio, ratio - half, ratio + half))
    return found


def weights_after(weights: Mapping[int, float], found: Sequence[Bias]) -> dict[int, float] | None:
    """The weights one step on; None when nothing is off, or no weight would move."""
    changed = dict(weights)
    for bias in found:
        now = weights.get(bias.deployment_id, 1.0)
        if is_off(bias, now):
            wanted = min(max(1 / bias.ratio, WEIGHT_MIN), WEIGHT_MAX)
            changed[bias.deployment_id] = round(stepped(now, wanted, STEP_MAX), 4)
    rounded = {key: value for key, value in changed.items() if value != 1.0 or key in weights}
    return rounded if rounded != dict(weights) else None
