"""Whether requests on a worker share it, learned from answers that came whole.

On slots, a request takes the same time however many run beside it. On an engine they slow each
other. So two sums are learned side by side (:mod:`router.scheduling.estimates.positive_fit`): one
of the request's own tokens, and one that adds what ran beside it. For every answer, each predicts
before it learns. If the second keeps predicting clearly better, requests share the worker
(prequential model selection; Dawid 1984). If nothing is shared, the second sum's extra terms are
noise and can only make it worse. So sizes that nobody can predict do not look like sharing.

Two observations need no statistics: cached prompts, and an answer that ends before all of those
that it is supposed to wait for.
"""

from math import log, sqrt

from router.scheduling.estimates.positive_fit import SECONDS_MIN, PositiveFit
from router.scheduling.ticket import Used

ALONE_GUESS = (0.05, 0.05, 0.02)
TOGETHER_GUESS = (0.05, 0.05, 0.02, 0.0005, 0.005)
THOUSAND = 1e3

KEPT = 0.99
"""How much of what an answer has shown still counts after the next answer."""

SKIPPED = 8
"""The first answers, for which both sums are guesses."""

SEEN_MIN = 50
SETTLED = 500
ONE_IN = 10
"""After this many answers without evidence, one in ten is looked at, since a look takes ten
microseconds.
"""

MISSED_MAX = 2.0
"""The largest log error that one answer counts for."""

BETTER = 0.12
DEVIATIONS = 2.5
"""The mean square error must be less by this share, and that by this many standard errors."""

OVERTAKEN_MAX = 3
"""Answers may pass each other on their way back to the router, but not this often."""


class Sharing:
    """See the module. Once ``is_shown``, it stays so."""

    __slots__ = (
        "_alone",
        "_better",
        "_better_squared",
        "_missed",
        "_overtaken",
        "_passed_over",
        "_seen",
        "_together",
        "is_shown",
    )

    def __init__(self) -> None:
        self.is_shown = False
        self._alone = PositiveFit(ALONE_GUESS)
        self._together = PositiveFit(TOGETHER_GUESS)
        self._overtaken = self._passed_over = 0
        self._seen = self._missed = self._better = self._better_squared = 0.0

    def answered(self, used: Used, beside: int, beside_tokens: float, service_s: float) -> None:
        """An answer took ``service_s`` next to ``beside`` others with that many prompt tokens."""
        if used.cached_tokens > 0:
            self.is_shown = True
        if self.is_shown or self._is_passed_over():
            return
        alone = (1.0, used.prompt_tokens / THOUSAND, float(used.answer_tokens))
        together = (*alone, float(used.answer_tokens * beside), beside_tokens / THOUSAND)
        missed = _learned(self._alone, alone, service_s)
        better = missed - _learned(self._together, together, service_s)
        if self._alone.samples <= SKIPPED:
            return
        self._seen = KEPT * self._seen + 1
        self._missed = KEPT * self._missed + missed
        self._better = KEPT * self._better + better
        self._better_squared = KEPT * self._better_squared + better**2
        if self._alone.samples >= SEEN_MIN and self._better > BETTER * self._missed:
            mean = self._better / self._seen
            variance = self._better_squared / self._seen - mean**2
            self.is_shown = mean > DEVIATIONS * sqrt(max(variance, 0.0) / self._seen)

    def _is_passed_over(self) -> bool:
        if self._alone.samples < SETTLED:
            return False
        self._passed_over = (self._passed_over + 1) % ONE_IN
        return self._passed_over > 0

    def overtook(self) -> None:
        """An answer ended while all those that it should wait for still ran."""
        self._overtaken += 1
        self.is_shown = self.is_shown or self._overtaken >= OVERTAKEN_MAX


def _learned(fit: PositiveFit, x: tuple[float, ...], seconds: float) -> float:
    """The square of the log error of its prediction, before it learns from this answer."""
    missed = log(max(seconds, SECONDS_MIN) / fit.seconds(x))
    fit.learn(x, seconds)
    return max(-MISSED_MAX, min(missed, MISSED_MAX)) ** 2
