"""Takes a failing worker out for a while, and lets it back in carefully.

Outlier ejection with half-open probing, as circuit breakers do it (Nygard, *Release It!*; Envoy's
outlier detection). Requests sent before the circuit opened that fail later belong to the same
incident, however many they are. When the pause is over, the circuit is half-open: the worker gets a
probe and no client's request, until a probe succeeds.

With each further failure the pause is a share of the time for which the worker has been out. So a
worker comes back late by no more than that share of its outage. Pauses that double can be as long
as the outage itself.

A worker that answers wrongly may do so because of the request. So wrong answers to one tenant only
raise a doubt, however many they are. A probe decides it, or another worker that can answer the same
request.
"""

FAILURES_TO_EJECT = 2
PAUSE_S = 0.25
PAUSE_SHARE = 0.125
"""How long a pause is, of the time since the worker was taken out; at least ``PAUSE_S``."""

PAUSE_MAX_S = 30.0


class Ejection:
    """The circuit of one worker: closed, open until ``until_s``, then half-open."""

    __slots__ = ("_by", "_opened_s", "_since_s", "consecutive_failures", "is_doubted", "until_s")

    def __init__(self) -> None:
        self.consecutive_failures = 0
        self.until_s = 0.0
        self.is_doubted = False
        """Whether to send a probe at once."""
        self._by: int | None = None
        self._opened_s = 0.0
        self._since_s = 0.0

    @property
    def is_ejected(self) -> bool:
        """Whether the circuit is open or half-open, so that it gets only probes."""
        return self.consecutive_failures >= FAILURES_TO_EJECT

    def succeeded(self) -> bool:
        """Close the circuit; True if it was not closed."""
        was_ejected = self.is_ejected
        self.consecutive_failures = 0
        self.until_s = 0.0
        self.is_doubted = False
        self._by = None
        return was_ejected

    def is_blamed_only_by(self, tenant: int) -> bool:
        """Whether all wrong answers since the last good one went to this tenant."""
        return not self.is_ejected and (not self.consecutive_failures or self._by == tenant)

    def confirm(self) -> None:
        """A wrong answer was the worker's fault."""
        self._by = None

    def failed(self, sent_s: float, now_s: float, tenant: int | None = None) -> bool:
        """Count a failure of a request sent at ``sent_s``; True if it opens the circuit (again).

        ``tenant`` is whose request got a wrong answer; None if the worker failed on its own.
        """
        if self.is_ejected and sent_s <= self._opened_s:
            return False
        if tenant is not None and not self.is_ejected:
            self.is_doubted = True
            if self.consecutive_failures and self._by == tenant:
                return False
        self._by = tenant
        self.consecutive_failures += 1
        excess = self.consecutive_failures - FAILURES_TO_EJECT
        if excess < 0:
            return False
        if not excess:
            self._since_s = now_s
        self._opened_s = now_s
        pause_s = max(PAUSE_S, PAUSE_SHARE * (now_s - self._since_s))
        self.until_s = now_s + min(pause_s, PAUSE_MAX_S)
        return True

    def is_open(self, now_s: float) -> bool:
        """Whether even a probe may not be sent now."""
        return now_s < self.until_s
