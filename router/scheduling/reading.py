"""How many answers an engine can give at once while their readers keep up with it.

Tokens come more slowly the more answers an engine works on, and faster than people read they are of
no use. Where nobody waits that is no reason to hold a request back. Where an engine has more to do
than it can, it is the difference between some that are served well and all that are served badly:
an engine that is kept full of prompts computes these, and its answers crawl.

What is measured is what readers see, steps and the prompts computed between them alike, so nothing
has to be known of the engine: with twice as many answers under way, what a token takes beyond that
of one alone is about twice as long.
"""

from math import inf

READING_S = 0.2
"""A person reads some five tokens a second: a stream that is slower is late for its reader."""

SLOW = 1.5
"""An engine that hardly keeps up with a reader alone may take this many times what it takes then:
else it would be left with one answer, of little use to anybody.
"""

FIXED_SHARE_MAX = 0.5
"""Of what a token takes, at most this share is taken not to grow with the answers under way: what
was learned of one alone may be off.
"""

QUICK = 0.25
"""An engine this much quicker than its readers has not shown a limit."""

SMOOTHING = 0.5
SMOOTHING_MAX = 0.5
"""Share of a stretch of the only answer; of many at once each weighs less, as they are as many."""


class Reading:
    """See the module. ``token_s`` is how long a token took lately, ``answers`` beside how many."""

    __slots__ = ("answers", "token_s")

    def __init__(self) -> None:
        self.token_s = 0.0
        self.answers = 0.0

    def saw(self, token_s: float, answers: float) -> None:
        """A stretch of an answer, among ``answers`` on average, had a token in ``token_s``."""
        share = min(SMOOTHING / max(answers, 1.0), SMOOTHING_MAX)
        self.token_s += share * (token_s - self.token_s)
        self.answers += share * (answers - self.answers)

    def answers_max(self, alone_s: float) -> float:
        """How many it can give at once, where a token takes ``alone_s`` of a single one."""
        bound_s = max(READING_S, SLOW * alone_s)
        if self.token_s <= QUICK * bound_s:
            return inf
        fixed_s = min(alone_s, FIXED_SHARE_MAX * self.token_s)
        return self.answers * (bound_s - fixed_s) / (self.token_s - fixed_s)
