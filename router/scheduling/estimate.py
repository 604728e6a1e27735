"""How long an endpoint takes for one unit of work, learned from what it did.

An exponentially weighted moving average with a fast start, as TCP's smoothed round-trip time
(RFC 6298), with observations clamped so that one outlier cannot poison it.
"""

SMOOTHING = 0.1
CLAMP = 4.0
FLOOR_S = 1e-6
"""No service is taken for instantaneous: rates are computed from estimates."""

UNKNOWN_S = 0.05
"""What an endpoint nobody has measured is taken for: fast, so that it is tried soon; the age of
what runs on it corrects the guess long before the first completion."""


class ServiceEstimate:
    """Seconds per unit of work. ``prior_s`` (0 = none) is a benchmark's figure."""

    __slots__ = ("samples", "seconds")

    def __init__(self, prior_s: float = 0.0) -> None:
        self.samples = 0
        self.seconds = prior_s or UNKNOWN_S

    def observe(self, service_s: float, work: float) -> None:
        """Fold in one completed service of ``work`` units that took ``service_s`` seconds."""
        per_unit = max(service_s / work, FLOOR_S)
        if self.samples:
            per_unit = min(per_unit, CLAMP * self.seconds)
        self.samples += 1
        self.seconds += max(SMOOTHING, 1 / self.samples) * (per_unit - self.seconds)
