"""How much credit is held for a call and the most that it can cost, decided only here.

Both follow from the call's tokens, not from its bytes. A prompt has as many tokens as its model's
workers count (:mod:`.counting`). An answer has at most as many as its caller allows.
If the caller sets no bound, an answer of the usual length is expected, and a stream's hold grows.
"""

from math import ceil

from msgspec import Struct

from router.domain.catalog import Model
from router.domain.pricing import Usage
from router.domain.protocols import KINDS
from router.domain.request import InferenceRequest
from router.pipeline.holds.counting import WorkerCounts
from router.scheduling.estimates.tokens import TokenEstimates

OPEN_ENDED_TOKENS = 8_192
"""The most tokens of an answer that neither the caller nor the model bounds."""

ANSWER_MARGIN = 2.0
"""An answer without a bound is expected to have this many times the mean..."""

ANSWER_TOKENS_MIN = 64
"""... and at least this many tokens."""


class Held(Struct, frozen=True, gc=False):
    """What a call's hold has to cover: ``first`` at the beginning, ``most`` in the end.

    The call does not begin with less than ``least``. A whole answer without a bound may be bounded
    to what the credit covers.
    """

    first: Usage
    least: Usage
    most: Usage

    @property
    def grows(self) -> bool:
        """Whether the hold grows while the answer comes."""
        return self.first is not self.most


class Holding:
    """Decides by what was learned about models; pure apart from that."""

    def __init__(self, counts: WorkerCounts, tokens: TokenEstimates) -> None:
        self._counts = counts
        self._tokens = tokens

    def held(self, model: Model, tenant: int, request: InferenceRequest) -> Held:
        """What to hold for a request whose bound is clamped to its model's limits."""
        bound = request.bound
        prompt = self._counts.prompt_tokens(request) if bound.prompt_tokens else 0
        longest = bound.completion_tokens
        if not KINDS[request.kind].generates or request.completion_tokens_asked:
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
        """The tokens that a prompt without its images has, as its model's workers would count."""
        return round(self._tokens.prompt(request.model, request.prompt_bytes))

    def _answer_tokens(self, model: str, tenant: int) -> int:
        mean = self._tokens.answer(model, tenant, 0)
        return max(ceil(ANSWER_MARGIN * mean), ANSWER_TOKENS_MIN)


def _usage(bound: Usage, prompt_tokens: int, completion_tokens: int) -> Usage:
    """The bound with other tokens. ``structs.replace`` takes three times as long."""
    return Usage(
        prompt_tokens, 0, completion_tokens, 0, bound.rows, bound.images, bound.hardware_ms
    )
