"""How many answers an engine runs at once, whatever number it is configured with.

An engine runs as many sequences as it was started for, and operators do not remember that number.
If the configured number is too small, the engine idles. If it is too large, requests wait inside
the engine in an order that nobody can change. So the configured number is only the beginning:

1. It grows when more answers than that are seen to run. To find out, an engine is always sent a few
   more than its number.
2. It shrinks when prompts wait for others to end, again and again, while the same number of answers
   runs.

Of whole answers only the ends are seen. An answer that ends before earlier ones ran beside them.
Such ends are rare, so an engine that has shown more than its number is sent twice what it has
shown, until it shows no more.
"""

RESERVE = 4
"""An engine is sent up to one in this many more than it has places, and at least one more."""

LATE = 2.0
LATE_MIN_S = 0.05
FULL = 0.5
"""A prompt waited for a place if on average at most this many answers fewer than the maximum ran
meanwhile."""

STALLS = 3
WHOLE_ENDS = 16
"""After this many whole answers that end and show no more places, the engine has no more."""

FORGET = 0.99
"""How fast the most answers seen at once are forgotten, per answer."""


class Places:
    """See the module. ``count`` is at least 1."""

    __slots__ = ("_growing", "_most", "_stalls", "count")

    def __init__(self, configured: int) -> None:
        self.count = max(configured, 1)
        self._most = 0.0
        self._stalls = 0
        self._growing = 0

    @property
    def reserve(self) -> int:
        """How many requests beyond its places it is sent."""
        return self.count if self._growing else max(1, self.count // RESERVE)

    def ended(self, at_once: int) -> None:
        """A whole answer ended while more ran than there are places; ``at_once`` certainly ran
        together.
        """
        if at_once > self.count:
            self.count = at_once
            self._growing = WHOLE_ENDS
        elif self._growing:
            self._growing -= 1

    def began(self, decoding: int, mean_decoding: float, took_s: float, expected_s: float) -> None:
        """A first token came, and ``decoding`` answers run with it. It took ``took_s`` instead of
        ``expected_s``, during which ``mean_decoding`` ran.
        """
        if decoding > self.count:
            self.count = decoding
            self._stalls = 0
        self._most = max(FORGET * self._most, decoding)
        late = took_s > max(LATE * expected_s, LATE_MIN_S)
        if not late or decoding > self._most or mean_decoding < self._most - FULL:
            self._stalls = 0
            return
        self._stalls += 1
        if self._stalls >= STALLS and self._most < self.count:
            self.count = max(round(self._most), 1)
