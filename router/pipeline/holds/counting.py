"""Checks the usage that a worker reports against what the router saw pass.

The router has no model's tokenizer, but it sees the bytes of a prompt, the pieces of a stream and
the text of an answer. A model's tokens are a steady multiple of those, which the router learns: the
median over all answers of the model's workers, moved by one step per answer (a stochastic
approximation after Robbins and Monro 1951). One wrong count moves it no further than any other.
Bounds keep a worker from teaching the router any price it likes. Tokens beyond ``TOLERANCE`` times
the median are not believed. The credit held for a prompt follows from the same medians.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from math import ceil

from msgspec import Struct, structs

from router.contracts.learned import LearnedCounts, Tally
from router.domain.pricing import Usage
from router.domain.request import BYTES_PER_TOKEN, InferenceRequest

RATIO_MIN, RATIO_MAX = 0.25, 2.0
"""Bounds of the median number of tokens for one token by the router's own count."""

PROMPT_RATIO_FIRST = 1.0
"""Where the median for prompts begins, since credit is held by it. The others begin at the most."""

STEP = 1.02
TOLERANCE = 2.0
"""How far one text may be from its model's median: other scripts and digits take more tokens."""

PROMPT_SLACK_TOKENS = 256
"""The most tokens that chat templates put around a prompt."""

SHORT_TOKENS = 64
"""A prompt up to this long shows how large its template is; a long one shows its vocabulary."""

TEMPLATE_MIN, TEMPLATE_FIRST, TEMPLATE_MAX = 4.0, 32.0, PROMPT_SLACK_TOKENS / TOLERANCE
"""Bounds and first value of the median number of tokens of a template."""

IMAGE_MIN, IMAGE_MAX = 64.0, 8_192.0
"""Bounds of the median number of tokens of an image. It begins at the most."""

FIXED_STEP = 1.05
ANSWER_SLACK_TOKENS = 16
MODELS_MAX = 10_000
TALLIED_MAX = 2_000
"""After this many answers of a deployment, the older ones count half in its tally."""


class _Median(Struct):
    """A median within bounds. Each value moves it by one step."""

    value: float
    low: float
    high: float
    step: float

    def observe(self, *, more: bool) -> None:
        """Take in one value; ``more`` says whether it is above the median."""
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
"""The medians before anything is learned."""

UNKNOWN: dict[str, _Median] = {}


class WorkerCounts:
    """One per router: see the module. ``cut`` counts answers by model and worker."""

    def __init__(self) -> None:
        self.cut: Counter[tuple[str, str]] = Counter()
        self.tallies: dict[int, Tally] = {}
        """By deployment."""
        self._medians: dict[str, dict[str, _Median]] = {}

    def believed(
        self, request: InferenceRequest, reported: Usage, answer_tokens: int | None
    ) -> Usage:
        """The part of a worker's usage that is billed. ``answer_tokens`` is the router's own count.

        Cached tokens are kept first, since they are cheaper; so are tokens of the answer's text.
        """
        prompt = self._prompt_most(request)
        cached = min(reported.cached_tokens, prompt)
        answer = self._answer_most(request, answer_tokens)
        completion = reported.completion_tokens
        reasoning = reported.reasoning_tokens
        if answer is not None:
            completion = min(completion, answer)
            reasoning = min(reasoning, answer - completion)
        return Usage(
            prompt_tokens=min(reported.prompt_tokens, prompt - cached),
            cached_tokens=cached,
            completion_tokens=completion,
            reasoning_tokens=reasoning,
            rows=reported.rows,
            images=reported.images,
            hardware_ms=reported.hardware_ms,
        )

    def observe(
        self, request: InferenceRequest, reported: Usage, answer_tokens: int | None
    ) -> None:
        """Learn from what a worker reports about an answer."""
        prompt = reported.prompt_tokens + reported.cached_tokens
        if prompt:
            self._observe_prompt(request, prompt)
        if answer_tokens and answer_tokens > ANSWER_SLACK_TOKENS:
            answer = reported.completion_tokens + reported.reasoning_tokens
            ratio = self._learning(request.model, _way(request))
            ratio.observe(more=answer > answer_tokens * ratio.value)

    def weighed(
        self,
        deployment_id: int,
        request: InferenceRequest,
        reported: Usage,
        answer_tokens: int | None,
    ) -> Usage:
        """What is believed of a whole answer's usage. It is also learned from and tallied."""
        believed = self.believed(request, reported, answer_tokens)
        self.observe(request, reported, answer_tokens)
        tally = self.tallies.get(deployment_id)
        if tally is None:
            tally = self.tallies[deployment_id] = Tally(deployment_id)
        if tally.answers >= TALLIED_MAX:
            _halve(tally)
        tally.answers += 1
        if reported != believed:
            tally.cut += 1
            tally.unbilled_tokens += reported.tokens - believed.tokens
        if not request.bound.images:
            tally.prompt_said += reported.prompt_tokens + reported.cached_tokens
            tally.prompt_own += request.prompt_tokens
        answer = reported.completion_tokens + reported.reasoning_tokens
        if answer_tokens and request.stream:
            tally.stream_said += answer
            tally.stream_own += answer_tokens
        elif answer_tokens:
            tally.whole_said += answer
            tally.whole_own += answer_tokens
        return believed

    def ratio(self, model: str, quantity: str) -> float:
        """The median of a model for ``PROMPT``, ``STREAM`` or ``WHOLE``."""
        return self._value(model, quantity)

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
        """The median number of tokens in a piece of a stream, at least one."""
        return max(self._value(model, STREAM), 1.0)

    def learned(self, models: Collection[str]) -> tuple[LearnedCounts, ...]:
        """What was learned of these models."""
        return tuple(
            LearnedCounts(model, **{quantity: median.value for quantity, median in known.items()})
            for model, known in self._medians.items()
            if model in models
        )

    def tallied(self, deployments: Collection[int]) -> tuple[Tally, ...]:
        """The tallies of these deployments, as they are now."""
        known = (self.tallies.get(id_) for id_ in deployments)
        return tuple(structs.replace(tally) for tally in known if tally is not None)

    def remember(self, counts: Iterable[LearnedCounts], tallies: Iterable[Tally]) -> None:
        """Take over what an earlier process learned."""
        self.tallies |= {tally.deployment_id: tally for tally in tallies}
        for learned in counts:
            for quantity, first in FIRST.items():
                value = getattr(learned, quantity)
                if value is not None:
                    within = min(max(value, first.low), first.high)
                    known = self._medians.setdefault(learned.name, {})
                    known[quantity] = structs.replace(first, value=within)

    def _observe_prompt(self, request: InferenceRequest, reported: int) -> None:
        model, own, images = request.model, request.prompt_tokens, request.bound.images
        if images:
            text = self._value(model, PROMPT) * own + self._value(model, TEMPLATE)
            image = self._learning(model, IMAGE)
            image.observe(more=reported - text > image.value * images)
        elif own > PROMPT_SLACK_TOKENS:
            ratio = self._learning(model, PROMPT)
            ratio.observe(more=reported > own * ratio.value)
        elif own <= SHORT_TOKENS and request.texts == 1:
            template = self._learning(model, TEMPLATE)
            template.observe(more=reported - self._value(model, PROMPT) * own > template.value)

    def _prompt_most(self, request: InferenceRequest) -> int:
        bound = request.bound.prompt_tokens
        if request.bound.images:
            return bound  # How many tokens an image has differs between models.
        ratio = self._value(request.model, PROMPT)
        return min(int(TOLERANCE * ratio * request.prompt_tokens) + PROMPT_SLACK_TOKENS, bound)

    def _answer_most(self, request: InferenceRequest, own: int | None) -> int | None:
        if own is None:
            return None
        ratio = self._value(request.model, _way(request))
        return int(TOLERANCE * ratio * own) + ANSWER_SLACK_TOKENS

    def _value(self, model: str, quantity: str) -> float:
        return (self._medians.get(model, UNKNOWN).get(quantity) or FIRST[quantity]).value

    def _learning(self, model: str, quantity: str) -> _Median:
        if len(self._medians) > MODELS_MAX:
            self._medians.clear()
        known = self._medians.setdefault(model, {})
        if quantity not in known:
            known[quantity] = structs.replace(FIRST[quantity])
        return known[quantity]


def _halve(tally: Tally) -> None:
    """Let older answers count for less."""
    for name in Tally.__struct_fields__[1:]:
        setattr(tally, name, getattr(tally, name) // 2)


def _way(request: InferenceRequest) -> str:
    """How the answer is counted: by pieces of a stream, or by bytes of a whole answer."""
    return STREAM if request.stream else WHOLE
