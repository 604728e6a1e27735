"""How many answers an engine works on at once, whatever it was told to be.

An engine runs as many sequences as it was started for, which no operator remembers: too small a
figure leaves it idle, too large a one has requests wait inside it, in an order that nobody can
change any more. So the figure that was told is where it begins. It grows when more answers than
that are seen to be under way, for which an engine is always sent a few more than it is known for;
it shrinks when prompts wait for others to end, again and again, while the same number of answers is
under way.

Of answers that come whole only the ends are seen. One that ends before others that came earlier was
worked on beside them; as such ends are rare, an engine that has shown more than it was told is sent
twice what it has shown, until it shows no more.
"""

RESERVE = 4
"""An engine is sent up to a share of one in so many more than it has places, and at least one."""

LATE = 2.0
LATE_MIN_S = 0.05
FULL = 0.5
"""A prompt waited for a place when on average this many fewer answers than the most were under way
meanwhile, or less."""

STALLS = 3
WHOLE_ENDS = 16
"""Whole answers that end with more under way than there are places, and show none: so that is all.
"""

FORGET = 0.99
"""How the most answers that were seen at once are forgotten, with every answer."""


class Places:
    """See the module. ``count`` is at least 1."""

    __slots__ = ("_growing", "_most", "_stalls", "count")

    def __init__(self, told: int) -> None:
        self.count = max(told, 1)
        self._most = 0.0
        self._stalls = 0
        self._growing = 0

    @property
    def reserve(self) -> int:
        """How many more it is sent."""
        return self.count if self._growing else max(1, self.count // RESERVE)

    def ended(self, at_once: int) -> None:
        """A whole answer ended, while more were under way than there are places. So many of those
        were certainly worked on at once.
        """
        if at_once > self.count:
            self.count = at_once
            self._growing = WHOLE_ENDS
        elif self._growing:
            self._growing -= 1

    def began(self, decoding: int, mean_decoding: float, took_s: float, expected_s: float) -> None:
        """A first token came, with which ``decoding`` answers are under way. It took ``took_s``
        instead of ``expected_s``, during which ``mean_decoding`` were.
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
