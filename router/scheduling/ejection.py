"""Taking a failing worker out for a while, and letting it back in carefully.

Outlier ejection with half-open probing, as circuit breakers do it (Nygard, *Release It!*; Envoy's
outlier detection): the pause doubles with each further failure, and when it is over one request at
a time goes through until one succeeds.
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

    def succeeded(self) -> None:
        """Close the circuit."""
        self.consecutive_failures = 0
        self.until_s = 0.0

    def failed(self, now_s: float) -> bool:
        """Count a failure; True when it (re)opens the circuit."""
        self.consecutive_failures += 1
        excess = self.consecutive_failures - FAILURES_TO_EJECT
        if excess < 0:
            return False
        self.until_s = now_s + min(PAUSE_S * 2**excess, PAUSE_MAX_S)
        return True

    def is_open(self, now_s: float) -> bool:
        """Whether nothing at all may be sent now."""
        return now_s < self.until_s

    def is_half_open(self, now_s: float) -> bool:
        """Whether one request at a time may find out if the worker is back."""
        return self.consecutive_failures >= FAILURES_TO_EJECT and now_s >= self.until_s
