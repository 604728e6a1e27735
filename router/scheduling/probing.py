"""When a worker is sent a tiny request of the router's own.

A worker that gets no traffic brings no news: one that was slow would stay unwanted after it has
recovered. So an idle worker that nothing was heard of for a second is probed, less and less often
while the answers say what was known (RFC 8767's idea for stale data: refresh in the background). An
ejected worker is probed as soon as its pause is over. Nobody is probed while nobody calls.
"""

from math import inf

INTERVAL_S = 1.0
INTERVAL_MAX_S = 60.0
TRAFFIC_S = 10.0
"""Probing stops when no request has come for this long."""

DOUBT_S = 0.5
"""How often a worker is probed that is in doubt."""

SURPRISE = 1.5
"""An answer that many times faster or slower than expected is news."""


class ProbeClock:
    """When one worker was last heard of and last asked, and how soon to ask again. Seconds,
    absolute.
    """

    __slots__ = ("asked_s", "heard_s", "interval_s", "running")

    def __init__(self) -> None:
        self.asked_s = -inf
        self.heard_s = 0.0
        self.interval_s = INTERVAL_S
        self.running = False

    def heard(self, now_s: float) -> None:
        """A client's request ended there."""
        self.heard_s = now_s
        self.interval_s = INTERVAL_S

    def probed(self, now_s: float, ratio: float) -> None:
        """A probe took ``ratio`` times what was expected."""
        self.running = False
        self.heard_s = now_s
        surprised = not 1 / SURPRISE < ratio < SURPRISE
        self.interval_s = INTERVAL_S if surprised else min(2 * self.interval_s, INTERVAL_MAX_S)

    def due_s(self) -> float:
        """When the worker should be asked again."""
        return self.heard_s + self.interval_s
