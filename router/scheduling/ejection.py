"""Taking a failing worker out for a while, and letting it back in carefully.

Outlier ejection with half-open probing, as circuit breakers do it (Nygard, *Release It!*; Envoy's
outlier detection): the pause doubles with each further failure. When it is over the circuit is
half-open: the worker gets a probe, never a client's request, until a probe succeeds.
"""

FAILURES_TO_EJECT = 2
PAUSE_S = 1.0
PAUSE_MAX_S = 30.0


class Ejection:
    """The circuit of one worker: closed, open until ``until_s``, then half-open."""

    __slots__ = ("consecutive_failures", "until_s")

    def __init__(self) -> None:
        self.consecutive_failures = 0
        self.until_s = 0.0

    @property
    def is_ejected(self) -> bool:
        """Whether the circuit is open or half-open: nothing but probes."""
        return self.consecutive_failures >= FAILURES_TO_EJECT

    def succeeded(self) -> bool:
        """Close the circuit; True when it was not closed."""
        was_ejected = self.is_ejected
        self.consecutive_failures = 0
        self.until_s = 0.0
        return was_ejected

    def failed(self, now_s: float) -> bool:
        """Count a failure; True when it (re)opens the circuit."""
        self.consecutive_failures += 1
        excess = self.consecutive_failures - FAILURES_TO_EJECT
        if excess < 0:
            return False
        # min() before the power: a worker that is down for a day fails often.
        self.until_s = now_s + min(PAUSE_S * 2 ** min(excess, 16), PAUSE_MAX_S)
        return True

    def is_open(self, now_s: float) -> bool:
        """Whether not even a probe may be sent now."""
        return now_s < self.until_s
