"""A moderation, as workers give it: the part that the router reads."""

from collections.abc import Mapping, Sequence
from math import isfinite

import msgspec
from msgspec import Struct

from router.contracts.bodies.text_usage import TextUsage


class Judged(Struct, frozen=True, gc=False):
    """One input: whether it is flagged, for what, and how surely."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]


class Moderation(Struct, frozen=True, gc=False):
    """One result for each input, in order."""

    results: list[Judged]
    usage: TextUsage | None = None


decode_moderation = msgspec.json.Decoder(Moderation).decode
_encode = msgspec.json.Encoder().encode

FLAGGED_ABOVE = 0.5
"""Where workers give probabilities alone."""


def judged(scores: Mapping[str, Sequence[float]], inputs: int) -> list[Judged]:
    """The results by each category's probability for every input.

    Raises ``msgspec.DecodeError`` if there are no categories, or not a probability for each.
    """
    if not scores or any(len(column) != inputs for column in scores.values()):
        raise msgspec.DecodeError(f"there are not scores for each of the {inputs} inputs")
    if not all(isfinite(score) for column in scores.values() for score in column):
        raise msgspec.DecodeError("a score is no number")
    results: list[Judged] = []
    for row in range(inputs):
        of_row = {name: column[row] for name, column in scores.items()}
        categories = {name: score > FLAGGED_ABOVE for name, score in of_row.items()}
        results.append(Judged(any(categories.values()), categories, of_row))
    return results


def moderation_body(model: str, results: Sequence[Judged], prompt_tokens: int) -> bytes:
    """The answer as upstreams hand it on, where the worker speaks no OpenAI."""
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return _encode({"model": model, "results": results, "usage": usage})
