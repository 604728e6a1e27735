"""How many answers an engine can give at once while people can still read along.

The more answers an engine runs, the more slowly their tokens come. Tokens faster than people read
are of no use. While no request waits, this is no reason to hold one back. While an engine has more
to do than it can, it decides between some requests served well and all served badly: an engine that
is kept full of prompts computes those, and its answers crawl.

It measures what readers see: steps together with the prompts computed between them. So nothing has
to be known of the engine. Twice as many answers take about twice as long per token, beyond the time
of a token of one answer alone.
"""

from math import inf

READING_S = 0.2
"""People read about five tokens a second; a slower stream is late for its reader."""

SLOW = 1.5
"""An engine that hardly keeps up with one reader may take this many times its time for one answer.
Otherwise it would be left with one answer and be of little use.
"""

FIXED_SHARE_MAX = 0.5
"""At most this share of a token's time is assumed not to grow with the running answers: what was
learned of one answer alone may be wrong.
"""

QUICK = 0.25
"""An engine this much faster than its readers has not shown a limit."""

SMOOTHING = 0.5
SMOOTHING_MAX = 0.5
"""The most that one stretch of an answer counts. With many answers at once, each counts less."""


class Reading:
    """See the module. ``token_s`` is the recent time per token, among ``answers`` running ones."""

    __slots__ = ("answers", "token_s")

    def __init__(self) -> None:
        self.token_s = 0.0
        self.answers = 0.0

    def observe(self, token_s: float, answers: float) -> None:
        """A stretch of an answer took ``token_s`` per token, among ``answers`` on average."""
        share = min(SMOOTHING / max(answers, 1.0), SMOOTHING_MAX)
        self.token_s += share * (token_s - self.token_s)
        self.answers += share * (answers - self.answers)

    def answers_max(self, alone_s: float) -> float:
        """How many answers it can give at once; one alone takes ``alone_s`` per token."""
        bound_s = max(READING_S, SLOW * alone_s)
        if self.token_s <= QUICK * bound_s:
            return inf
        fixed_s = min(alone_s, FIXED_SHARE_MAX * self.token_s)
        return self.answers * (bound_s - fixed_s) / (self.token_s - fixed_s)
