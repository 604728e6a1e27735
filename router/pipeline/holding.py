"""What credit is held for a call, and the most that it can cost: the one place that says so.

Both follow from how many tokens the call has, not from its bytes: a prompt's by what its model's
workers count (:mod:`router.pipeline.counting`), an answer's as its caller bounds it. Where nobody
does, an answer of the usual length is expected, and a stream's hold grows with it.
"""

from math import ceil

from msgspec import Struct

from router.domain.catalog import Model
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.pipeline.counting import WorkerCounts
from router.scheduling.tokens import TokenEstimates

GENERATING = frozenset({Kind.CHAT, Kind.COMPLETION})
OPEN_ENDED_TOKENS = 8_192
"""What an answer is taken for at most when neither the caller nor the model bounds it."""

ANSWER_MARGIN = 2.0
"""How many times the mean answer is expected of one that nobody bounds..."""

ANSWER_TOKENS_MIN = 64
"""... and how much at least."""


class Held(Struct, frozen=True, gc=False):
    """What a call's hold is to cover: ``first`` to begin with, ``most`` in the end.

    With less than ``least`` it does not begin: a whole answer that nobody bounds may be bounded to
    what credit there is.
    """

    first: Usage
    least: Usage
    most: Usage

    @property
    def grows(self) -> bool:
        """Whether more is held while the answer comes."""
        return self.first is not self.most


class Holding:
    """By what was learned of models. Pure but for that."""

    def __init__(self, counts: WorkerCounts, tokens: TokenEstimates) -> None:
        self._counts = counts
        self._tokens = tokens

    def held(self, model: Model, tenant: int, request: InferenceRequest) -> Held:
        """For a request whose bound is clamped to what its model can do."""
        bound = request.bound
        prompt = self._counts.prompt_tokens(request) if bound.prompt_tokens else 0
        longest = bound.completion_tokens
        if request.kind not in GENERATING or request.completion_tokens_asked:
            most = _usage(bound, prompt, longest)
            return Held(most, most, most)
        if not longest:
            each = min(model.context_tokens_max or OPEN_ENDED_TOKENS, OPEN_ENDED_TOKENS)
            longest = each * request.choices_asked
        most = _usage(bound, prompt, longest)
        expected = self._answer_tokens(model.name, tenant) * request.choices_asked
        if expected >= longest:
            return Held(most, most, most)
        least = _usage(bound, prompt, expected)
        return Held(least if request.stream else most, least, most)

    def prompt_tokens(self, request: InferenceRequest) -> int:
        """How many tokens a prompt has, less images, as its model's workers probably count."""
        return round(self._tokens.prompt(request.model, request.prompt_bytes))

    def _answer_tokens(self, model: str, tenant: int) -> int:
        mean = self._tokens.answer(model, tenant, 0)
        return max(ceil(ANSWER_MARGIN * mean), ANSWER_TOKENS_MIN)


def _usage(bound: Usage, prompt_tokens: int, completion_tokens: int) -> Usage:
    """The bound with other tokens. ``structs.replace`` takes three times as long."""
    return Usage(
        prompt_tokens, 0, completion_tokens, 0, bound.rows, bound.images, bound.hardware_ms
    )
