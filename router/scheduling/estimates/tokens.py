"""How many tokens a request has and will have, learned from what workers count.

A prompt is estimated from its bytes: in one model's vocabulary, text has a steady number of bytes
per token, which the workers' own counts calibrate. The length of an answer cannot be told from its
prompt, but its mean can be learned by model, tenant and bound. With too few samples, the model's
mean is used.
"""

from collections.abc import Collection, Iterable
from heapq import nlargest
from math import sqrt

from router.contracts.learned import LearnedAnswer, LearnedModel
from router.domain.request import BYTES_PER_TOKEN

CALIBRATION = 0.05
BYTES_MIN, BYTES_MAX = 1.0, 16.0

ANSWER_GUESS = 100.0
SMOOTHING = 0.02
SAMPLES_MIN = 20
"""From this many answers on, those of one tenant and bound count more than the model's."""

KEYS_MAX = 10_000
KEPT_MAX = 1_000
"""How many lengths are kept for the router's next run: those with the most samples."""


class _Lengths:
    """The mean of the samples; it moves quickly at first."""

    __slots__ = ("mean", "samples")

    def __init__(self, guess: float) -> None:
        self.mean = guess
        self.samples = 0

    def observe(self, tokens: int) -> None:
        self.samples += 1
        self.mean += max(SMOOTHING, 1 / (self.samples + 1)) * (tokens - self.mean)


class TokenEstimates:
    """See the module. ``error`` is the relative error of prompt estimates (root mean square), by
    model.
    """

    def __init__(self) -> None:
        self._bytes_per_token: dict[str, float] = {}
        self._squares: dict[str, float] = {}
        self._answers: dict[tuple[str, int, int], _Lengths] = {}

    def prompt(self, model: str, size_bytes: int) -> float:
        """The tokens of a prompt of ``size_bytes``."""
        return size_bytes / self._bytes_per_token.get(model, BYTES_PER_TOKEN)

    def error(self, model: str) -> float | None:
        """None before a worker has counted a prompt of this model."""
        squares = self._squares.get(model)
        return sqrt(squares) if squares is not None else None

    def answer(self, model: str, tenant: int, most: int) -> float:
        """The expected tokens of an answer that may have at most ``most`` (0 = no bound)."""
        for key in ((model, tenant, most), (model, -1, most), (model, -1, -1)):
            known = self._answers.get(key)
            if known is not None and known.samples >= SAMPLES_MIN:
                return min(known.mean, most) if most else known.mean
        known = self._answers.get((model, -1, -1))
        guess = known.mean if known is not None else ANSWER_GUESS
        return min(guess, most) if most else guess

    def counted(self, model: str, size_bytes: int, prompt_tokens: int) -> None:
        """A worker counted the tokens of a prompt of ``size_bytes``."""
        if prompt_tokens <= 0 or size_bytes <= 0:
            return
        known = self._bytes_per_token.get(model, float(BYTES_PER_TOKEN))
        off = size_bytes / known / prompt_tokens - 1
        squares = self._squares.get(model, 0.0)
        self._squares[model] = squares + CALIBRATION * (off**2 - squares)
        observed = max(BYTES_MIN, min(size_bytes / prompt_tokens, BYTES_MAX))
        self._bytes_per_token[model] = known + CALIBRATION * (observed - known)

    def answered(self, model: str, tenant: int, most: int, tokens: int) -> None:
        """An answer had this many tokens."""
        if len(self._answers) > KEYS_MAX:
            self._answers.clear()
        for key in ((model, tenant, most), (model, -1, most), (model, -1, -1)):
            known = self._answers.get(key)
            if known is None:
                known = self._answers[key] = _Lengths(ANSWER_GUESS)
            known.observe(tokens)

    def learned(
        self, models: Collection[str]
    ) -> tuple[tuple[LearnedModel, ...], tuple[LearnedAnswer, ...]]:
        """What is worth keeping of these models."""
        answers = [
            LearnedAnswer(model, tenant, most, known.mean, known.samples)
            for (model, tenant, most), known in self._answers.items()
            if model in models
        ]
        return (
            tuple(
                LearnedModel(model, size_bytes)
                for model, size_bytes in self._bytes_per_token.items()
                if model in models
            ),
            tuple(nlargest(KEPT_MAX, answers, key=lambda answer: answer.samples)),
        )

    def remember(self, models: Iterable[LearnedModel], answers: Iterable[LearnedAnswer]) -> None:
        """Take over what an earlier run learned, worth just enough samples to count."""
        for model in models:
            self._bytes_per_token[model.name] = max(
                BYTES_MIN, min(model.bytes_per_token, BYTES_MAX)
            )
        for answer in answers:
            known = _Lengths(answer.tokens)
            known.samples = min(answer.samples, SAMPLES_MIN)
            self._answers[answer.model, answer.tenant, answer.most] = known
