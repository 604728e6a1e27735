"""When to send a worker a tiny request of the router's own.

A worker without traffic brings no news: a slow one would stay unwanted after it has recovered. So
an idle worker is probed after a second of silence, and less and less often while the answers
confirm what was known (RFC 8767's idea for stale data: refresh in the background). One that is
slower than its like is asked every few seconds all the same, since it is missed. An ejected worker
is probed as soon as its pause is over. Without calls there are no probes.
"""

from math import inf

INTERVAL_S = 1.0
INTERVAL_MAX_S = 60.0
STRAGGLER_INTERVAL_MAX_S = 4.0
TRAFFIC_S = 10.0
"""Probing stops when no request has come for this long."""

DOUBT_S = 0.5
"""How often a doubted worker is probed."""

SURPRISE = 1.5
"""An answer this many times faster or slower than expected is news."""


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
        """A probe took ``ratio`` times the expected time."""
        self.heard_s = now_s
        surprised = not 1 / SURPRISE < ratio < SURPRISE
        self.interval_s = INTERVAL_S if surprised else min(2 * self.interval_s, INTERVAL_MAX_S)

    def due_s(self, *, is_straggler: bool = False) -> float:
        """When to ask the worker again."""
        most_s = STRAGGLER_INTERVAL_MAX_S if is_straggler else INTERVAL_MAX_S
        return self.heard_s + min(self.interval_s, most_s)
