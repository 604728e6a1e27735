"""Tells a worker that has become slow from one that was given a large request.

One answer that takes long says little. Two in a row are rarely both large, if the second was begun
after the first had ended: what one hang holds up ends together, and counts once. The worker is then
learned anew in a few answers. Otherwise it would take dozens, and a worker that is avoided does not
give dozens.
"""

from math import inf

LONGER = 1.5
"""An answer that took this many times longer than expected is long."""

LONG_TO_BELIEVE = 2
SLOWED_SMOOTHING = 0.4
"""The weight of a long answer of a worker that has become slow."""


class Slowdown:
    """How many answers of one endpoint in a row were long. Seconds, absolute."""

    __slots__ = ("_counted_s", "_long")

    def __init__(self) -> None:
        self._long = 0
        self._counted_s = -inf

    def shows(self, relative: float, began_s: float, now_s: float) -> bool:
        """Whether an answer that took ``relative`` times the expected time shows that the endpoint
        has become slow.
        """
        if relative < LONGER:
            self._long = 0
            return False
        if began_s >= self._counted_s:
            self._long += 1
            self._counted_s = now_s
        return self._long >= LONG_TO_BELIEVE
