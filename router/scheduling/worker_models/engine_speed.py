"""What the engines of one deployment have shown together: their curves, and their mean request."""

from collections.abc import Sequence
from math import exp

from router.domain.catalog import USUAL_ENGINE, EngineCurve
from router.scheduling.estimates.positive_fit import PositiveFit
from router.scheduling.ticket import Used

FIRST_GUESS, STEP_GUESS = USUAL_ENGINE.first, USUAL_ENGINE.step
"""Used until a benchmark or an answer says more."""

SMOOTHING = 0.02


class EngineSpeed:
    """See the module.

    ``first`` and ``step`` are the curves ``x`` and ``y`` of
    :mod:`router.scheduling.worker_models.engine`. ``first_logs`` and ``step_logs`` are sums of the
    logarithms of the factors of its ``engines``.
    """

    __slots__ = (
        "answer_tokens",
        "asked_tokens",
        "engines",
        "event_tokens",
        "first",
        "first_logs",
        "others_count",
        "prompt_tokens",
        "step",
        "step_logs",
    )

    def __init__(
        self, first: Sequence[float] = FIRST_GUESS, step: Sequence[float] = STEP_GUESS
    ) -> None:
        self.first = PositiveFit(first)
        self.step = PositiveFit(step)
        self.engines = 0
        self.first_logs = self.step_logs = 0.0
        self.prompt_tokens = self.asked_tokens = 500.0
        """The mean prompt: its tokens that have to be computed, and all its tokens."""
        self.answer_tokens = 100.0
        self.event_tokens = 1.0
        """Tokens per event of a stream."""
        self.others_count = 1.0
        """How much a second of longer wait for others counts against a second of its own."""

    def expect(self, first: Sequence[float], step: Sequence[float]) -> None:
        """Take a newer guess, until an answer has taught something."""
        if not self.first.samples and not self.step.samples:
            self.first = PositiveFit(first)
            self.step = PositiveFit(step)

    def benchmarked(self, curve: EngineCurve) -> None:
        """Take the figures of a benchmark, perhaps a newer one."""
        if not self.step.samples:
            self.event_tokens = curve.event_tokens
        self.first.benchmarked(curve.first)
        self.step.benchmarked(curve.step)

    @property
    def first_factor(self) -> float:
        """The geometric mean of the engines' factors for the first token."""
        return exp(self.first_logs / self.engines) if self.engines else 1.0

    @property
    def step_factor(self) -> float:
        """The geometric mean of the engines' factors for a step."""
        return exp(self.step_logs / self.engines) if self.engines else 1.0

    def observe(self, used: Used) -> None:
        """Move the mean request towards this one."""
        uncached = used.prompt_tokens - used.cached_tokens
        self.prompt_tokens += SMOOTHING * (uncached - self.prompt_tokens)
        self.asked_tokens += SMOOTHING * (used.prompt_tokens - self.asked_tokens)
        self.answer_tokens += SMOOTHING * (used.answer_tokens - self.answer_tokens)
