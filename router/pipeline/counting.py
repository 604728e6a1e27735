"""What a worker says that it used, held against what the router saw pass.

The router has no model's tokenizer, but it sees the bytes of a prompt, the pieces of a stream and
the text of an answer. A model's tokens are a steady multiple of those, which is learned: the median
over all its workers' answers, moved by a step an answer (a stochastic approximation after Robbins
and Monro 1951), so that how far off a count is makes no difference, and within bounds, so that
nobody teaches the router any price. What is said beyond ``TOLERANCE`` times that is not believed.
What credit is held for a prompt follows from the same medians.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from math import ceil

from msgspec import Struct, structs

from router.contracts.learned import LearnedCounts, Tally
from router.domain.pricing import Usage
from router.domain.request import BYTES_PER_TOKEN, InferenceRequest

RATIO_MIN, RATIO_MAX = 0.25, 2.0
"""Tokens that one of the router's own counts for may be, in the median."""

PROMPT_RATIO_FIRST = 1.0
"""What that of prompts begins with, as credit is held by it; others begin with the most."""

STEP = 1.02
TOLERANCE = 2.0
"""How far one text may be from its model's median: other scripts and digits have more tokens."""

PROMPT_SLACK_TOKENS = 256
"""What chat templates put around a prompt."""

SHORT_TOKENS = 64
"""Prompts up to which what a worker says shows its template; longer ones show its vocabulary."""

TEMPLATE_MIN, TEMPLATE_FIRST, TEMPLATE_MAX = 4.0, 32.0, PROMPT_SLACK_TOKENS / TOLERANCE
"""Tokens of a template, in the median."""

IMAGE_MIN, IMAGE_MAX = 64.0, 8_192.0
"""Tokens of an image, in the median. It begins with the most."""

FIXED_STEP = 1.05
ANSWER_SLACK_TOKENS = 16
MODELS_MAX = 10_000
TALLIED_MAX = 2_000
"""Answers of a deployment that are tallied; beyond it the older ones count half."""


class _Median(Struct):
    """A median within bounds, that each value moves by a step."""

    value: float
    low: float
    high: float
    step: float

    def saw(self, *, more: bool) -> None:
        """One more value, that is more or not."""
        moved = self.value * (self.step if more else 1 / self.step)
        self.value = min(max(moved, self.low), self.high)


PROMPT, STREAM, WHOLE, TEMPLATE, IMAGE = "prompt", "stream", "whole", "template", "image"
FIRST = {
    PROMPT: _Median(PROMPT_RATIO_FIRST, RATIO_MIN, RATIO_MAX, STEP),
    STREAM: _Median(RATIO_MAX, RATIO_MIN, RATIO_MAX, STEP),
    WHOLE: _Median(RATIO_MAX, RATIO_MIN, RATIO_MAX, STEP),
    TEMPLATE: _Median(TEMPLATE_FIRST, TEMPLATE_MIN, TEMPLATE_MAX, FIXED_STEP),
    IMAGE: _Median(IMAGE_MAX, IMAGE_MIN, IMAGE_MAX, FIXED_STEP),
}
"""What nobody has shown yet."""

UNKNOWN: dict[str, _Median] = {}


class WorkerCounts:
    """One per router: see the module. ``cut`` counts answers by model and worker."""

    def __init__(self) -> None:
        self.cut: Counter[tuple[str, str]] = Counter()
        self.tallies: dict[int, Tally] = {}
        """By deployment."""
        self._medians: dict[str, dict[str, _Median]] = {}

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
        if prompt:
            self._saw_prompt(request, prompt)
        if answer_tokens and answer_tokens > ANSWER_SLACK_TOKENS:
            answer = said.completion_tokens + said.reasoning_tokens
            ratio = self._learning(request.model, _way(request))
            ratio.saw(more=answer > answer_tokens * ratio.value)

    def weighed(
        self, deployment_id: int, request: InferenceRequest, said: Usage, answer_tokens: int | None
    ) -> Usage:
        """What is believed of a whole answer, which is learned from and counted."""
        believed = self.believed(request, said, answer_tokens)
        self.saw(request, said, answer_tokens)
        tally = self.tallies.get(deployment_id)
        if tally is None:
            tally = self.tallies[deployment_id] = Tally(deployment_id)
        if tally.answers >= TALLIED_MAX:
            _halve(tally)
        tally.answers += 1
        if said != believed:
            tally.cut += 1
            tally.unbilled_tokens += said.tokens - believed.tokens
        if not request.bound.images:
            tally.prompt_said += said.prompt_tokens + said.cached_tokens
            tally.prompt_own += request.prompt_tokens
        answer = said.completion_tokens + said.reasoning_tokens
        if answer_tokens and request.stream:
            tally.stream_said += answer
            tally.stream_own += answer_tokens
        elif answer_tokens:
            tally.whole_said += answer
            tally.whole_own += answer_tokens
        return believed

    def ratio(self, model: str, of: str) -> float:
        """The median of a model: of ``PROMPT``, ``STREAM`` or ``WHOLE``."""
        return self._value(model, of)

    def prompt_tokens(self, request: InferenceRequest) -> int:
        """The most tokens that a prompt is held and charged for."""
        known, bound = self._medians.get(request.model, UNKNOWN), request.bound
        own = (request.prompt_bytes + request.aside_bytes) // BYTES_PER_TOKEN
        tokens = (known.get(PROMPT) or FIRST[PROMPT]).value * own
        tokens += (known.get(TEMPLATE) or FIRST[TEMPLATE]).value * request.texts
        if bound.images:
            tokens += (known.get(IMAGE) or FIRST[IMAGE]).value * bound.images
        return min(ceil(TOLERANCE * tokens), bound.prompt_tokens)

    def event_tokens(self, model: str) -> float:
        """Tokens that a piece of a stream may be, in the median, and one at least."""
        return max(self._value(model, STREAM), 1.0)

    def learned(self, models: Collection[str]) -> tuple[LearnedCounts, ...]:
        """What was learned of these models."""
        return tuple(
            LearnedCounts(model, **{of: median.value for of, median in known.items()})
            for model, known in self._medians.items()
            if model in models
        )

    def tallied(self, deployments: Collection[int]) -> tuple[Tally, ...]:
        """The tallies of these deployments, as they are now."""
        known = (self.tallies.get(one) for one in deployments)
        return tuple(structs.replace(tally) for tally in known if tally is not None)

    def remember(self, counts: Iterable[LearnedCounts], tallies: Iterable[Tally]) -> None:
        """An earlier life has learned this."""
        self.tallies |= {one.deployment_id: one for one in tallies}
        for one in counts:
            for of, first in FIRST.items():
                value = getattr(one, of)
                if value is not None:
                    within = min(max(value, first.low), first.high)
                    known = self._medians.setdefault(one.name, {})
                    known[of] = structs.replace(first, value=within)

    def _saw_prompt(self, request: InferenceRequest, said: int) -> None:
        model, own, images = request.model, request.prompt_tokens, request.bound.images
        if images:
            text = self._value(model, PROMPT) * own + self._value(model, TEMPLATE)
            image = self._learning(model, IMAGE)
            image.saw(more=said - text > image.value * images)
        elif own > PROMPT_SLACK_TOKENS:
            ratio = self._learning(model, PROMPT)
            ratio.saw(more=said > own * ratio.value)
        elif own <= SHORT_TOKENS and request.texts == 1:
            template = self._learning(model, TEMPLATE)
            template.saw(more=said - self._value(model, PROMPT) * own > template.value)

    def _prompt_most(self, request: InferenceRequest) -> int:
        bound = request.bound.prompt_tokens
        if request.bound.images:
            return bound  # What an image is worth differs between models.
        ratio = self._value(request.model, PROMPT)
        return min(int(TOLERANCE * ratio * request.prompt_tokens) + PROMPT_SLACK_TOKENS, bound)

    def _answer_most(self, request: InferenceRequest, own: int | None) -> int | None:
        if own is None:
            return None
        ratio = self._value(request.model, _way(request))
        return int(TOLERANCE * ratio * own) + ANSWER_SLACK_TOKENS

    def _value(self, model: str, of: str) -> float:
        return (self._medians.get(model, UNKNOWN).get(of) or FIRST[of]).value

    def _learning(self, model: str, of: str) -> _Median:
        if len(self._medians) > MODELS_MAX:
            self._medians.clear()
        known = self._medians.setdefault(model, {})
        if of not in known:
            known[of] = structs.replace(FIRST[of])
        return known[of]


def _halve(tally: Tally) -> None:
    """What is older counts for less."""
    for name in Tally.__struct_fields__[1:]:
        setattr(tally, name, getattr(tally, name) // 2)


def _way(request: InferenceRequest) -> str:
    """Pieces of streams and bytes of whole answers are different counts."""
    return STREAM if request.stream else WHOLE
