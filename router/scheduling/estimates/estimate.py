"""How long an endpoint takes for one unit of work, learned from what it did.

An exponentially weighted moving average with a fast start, as TCP's smoothed round-trip time
(RFC 6298). Observations are clamped, so that one outlier cannot spoil it. Workers of one pool are
built alike, so a new worker's estimate begins with the pool's (a prior worth a few samples, as in
empirical Bayes): one noisy first sample does not decide. Later an estimate is drawn towards the
pool's as far as their difference may be noise, and no further (the limited translation estimator of
Efron and Morris 1972), so that a straggler still stands out.
"""

from math import sqrt

SMOOTHING = 0.05
RECOVERY_SMOOTHING = 0.5
"""The weight of a probe after a worker was silent for a while."""

CLAMP = 4.0
PRIOR_SAMPLES = 4
"""How many samples the figure of a benchmark, or of the pool, is worth."""

FLOOR_S = 1e-6
"""No estimate is below this, since rates are computed from estimates."""

UNKNOWN_S = 0.05
"""The estimate of an endpoint that nobody has measured: fast, so that it is tried soon. The age of
what runs on it corrects the guess long before the first completion."""


class ServiceEstimate:
    """Seconds per unit of work. ``prior_s`` (0 = none) is a benchmark's figure or the pool's."""

    __slots__ = ("_prior_samples", "samples", "seconds")

    def __init__(self, prior_s: float = 0.0) -> None:
        self.samples = 0
        self.seconds = prior_s or UNKNOWN_S
        self._prior_samples = PRIOR_SAMPLES if prior_s else 0

    @property
    def is_guess(self) -> bool:
        """Whether neither this endpoint nor its like was ever measured."""
        return not (self.samples or self._prior_samples)

    def expect(self, prior_s: float) -> None:
        """Take a newer prior, until something is measured here."""
        if not self.samples:
            self.seconds = prior_s
            self._prior_samples = PRIOR_SAMPLES

    def benchmarked(self, prior_s: float) -> None:
        """There is a new benchmark. It and what was learned before count alike (by their logs) and
        only for a few samples: calls soon show which of them is right.
        """
        self.seconds = sqrt(self.seconds * prior_s) if self.samples else prior_s
        self.samples = min(self.samples, PRIOR_SAMPLES)
        self._prior_samples = PRIOR_SAMPLES

    def remember(self, seconds: float, samples: int) -> None:
        """Take over an earlier run's estimate, worth no more than a prior."""
        self.samples = min(samples, PRIOR_SAMPLES)
        self.seconds = seconds
        self._prior_samples = 0

    def at_least(self, seconds: float) -> None:
        """A service took longer than this, but it is not known how much."""
        self.seconds = max(self.seconds, seconds)

    def observe(self, service_s: float, work: float, smoothing: float = SMOOTHING) -> None:
        """Learn from one completed service of ``work`` units that took ``service_s`` seconds."""
        per_unit = max(service_s / work, FLOOR_S)
        known = self.samples + self._prior_samples
        if known:
            per_unit = min(per_unit, CLAMP * self.seconds)
        self.samples += 1
        self.seconds += max(smoothing, 1 / (known + 1)) * (per_unit - self.seconds)


SHRINKAGE = 0.8
TRANSLATION = 0.3


def shrunk(own_s: float, pool_s: float) -> float:
    """``own_s`` drawn towards ``pool_s``, by at most a share of itself."""
    most = TRANSLATION * own_s
    apart = pool_s - own_s
    if apart > most:
        apart = most
    elif apart < -most:
        apart = -most
    return own_s + SHRINKAGE * apart
