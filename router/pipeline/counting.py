"""What a worker says that it used, held against what the router saw pass.

The router has no model's tokenizer, but it sees the bytes of a prompt, the pieces of a stream and
the text of an answer. A model's tokens are a steady multiple of those, which is learned: the median
over all its workers' answers, moved by a step an answer (a stochastic approximation after Robbins
and Monro 1951), so that how far off a count is makes no difference, and within bounds, so that
nobody teaches the router any price. What is said beyond ``TOLERANCE`` times that is not believed.
"""

from collections import Counter

from router.domain.pricing import Usage
from router.domain.request import InferenceRequest

RATIO_MIN, RATIO_MAX = 0.25, 2.0
"""Tokens that one of the router's own counts for may be, in the median. It begins with the most."""

STEP = 1.02
TOLERANCE = 2.0
"""How far one text may be from its model's median: other scripts and digits have more tokens."""

PROMPT_SLACK_TOKENS = 256
"""What chat templates put around a prompt."""

ANSWER_SLACK_TOKENS = 16
MODELS_MAX = 10_000


class _Ratio:
    """The median of what workers say by what the router counts."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = RATIO_MAX

    def saw(self, said: int, own: int) -> None:
        step = STEP if said > own * self.value else 1 / STEP
        self.value = min(max(self.value * step, RATIO_MIN), RATIO_MAX)


class WorkerCounts:
    """One per router: see the module. ``cut`` counts answers by model and worker."""

    def __init__(self) -> None:
        self.cut: Counter[tuple[str, str]] = Counter()
        self._ratios: dict[tuple[str, str], _Ratio] = {}

    def believed(self, request: InferenceRequest, said: Usage, answer_tokens: int | None) -> Usage:
        """What of a worker's usage is billed. ``answer_tokens`` is the router's own count, if any.

        Cached tokens are cut last, as the cheaper ones, and so are those of the answer itself.
        """
        prompt = self._prompt_most(request)
        cached = min(said.cached_tokens, prompt)
        answer = self._answer_most(request, answer_tokens)
        completion = said.completion_tokens
        reasoning = said.reasoning_tokens
        if answer is not None:
            completion = min(completion, answer)
            reasoning = min(reasoning, answer - completion)
        return Usage(
            prompt_tokens=min(said.prompt_tokens, prompt - cached),
            cached_tokens=cached,
            completion_tokens=completion,
            reasoning_tokens=reasoning,
            rows=said.rows,
            images=said.images,
            hardware_ms=said.hardware_ms,
        )

    def saw(self, request: InferenceRequest, said: Usage, answer_tokens: int | None) -> None:
        """A worker has answered: learn from what it says."""
        prompt = said.prompt_tokens + said.cached_tokens
        if prompt and request.prompt_tokens > PROMPT_SLACK_TOKENS and not request.bound.images:
            self._ratio(request.model, "prompt").saw(prompt, request.prompt_tokens)
        if answer_tokens and answer_tokens > ANSWER_SLACK_TOKENS:
            answer = said.completion_tokens + said.reasoning_tokens
            self._ratio(request.model, _way(request)).saw(answer, answer_tokens)

    def _prompt_most(self, request: InferenceRequest) -> int:
        bound = request.bound.prompt_tokens
        if request.bound.images:
            return bound  # What an image is worth differs between models.
        ratio = self._ratio(request.model, "prompt").value
        return min(int(TOLERANCE * ratio * request.prompt_tokens) + PROMPT_SLACK_TOKENS, bound)

    def _answer_most(self, request: InferenceRequest, own: int | None) -> int | None:
        if own is None:
            return None
        return int(TOLERANCE * self._ratio(request.model, _way(request)).value * own) + (
            ANSWER_SLACK_TOKENS
        )

    def _ratio(self, model: str, of: str) -> _Ratio:
        if len(self._ratios) > MODELS_MAX:
            self._ratios.clear()
        known = self._ratios.get((model, of))
        if known is None:
            known = self._ratios[model, of] = _Ratio()
        return known


def _way(request: InferenceRequest) -> str:
    """Pieces of streams and bytes of whole answers are different counts."""
    return "stream" if request.stream else "whole"
