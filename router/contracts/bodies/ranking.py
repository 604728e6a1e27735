"""A ranking of documents, as workers give it: the part that the router reads."""

from collections.abc import Sequence
from math import isfinite

import msgspec
from msgspec import Raw, Struct

from router.contracts.bodies.text_usage import TextUsage


class Ranked(Struct, frozen=True, gc=False):
    """A document, counted from 0, and how relevant it is to the query."""

    index: int
    relevance_score: float


class _Result(Struct, gc=False):
    """Text Embeddings Inference and Infinity say ``score``."""

    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Answer(Struct, gc=False):
    results: list[_Result]
    usage: TextUsage | None = None


class Ranking(Struct, frozen=True, gc=False):
    """The most relevant document first."""

    results: tuple[Ranked, ...]
    usage: TextUsage | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_results = msgspec.json.Decoder(list[Ranked]).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
encode = msgspec.json.Encoder().encode


def decode_ranking(body: bytes, documents: int) -> Ranking:
    """Read a worker's answer about so many documents.

    Raises one of :data:`router.contracts.wire.UNREADABLE`, also for a document that was not sent,
    or that is there twice, and for a score that is no number.
    """
    answer = _decode(body)
    results: list[Ranked] = []
    for result in answer.results:
        score = result.score if result.relevance_score is None else result.relevance_score
        if score is None:
            raise msgspec.DecodeError("a result has no relevance_score")
        results.append(Ranked(result.index, score))
    return Ranking(ordered(results, documents), answer.usage)


def ordered(results: Sequence[Ranked], documents: int) -> tuple[Ranked, ...]:
    """The most relevant first. Raises ``msgspec.DecodeError`` for what cannot be a ranking."""
    places = {result.index for result in results}
    if len(places) != len(results) or not places.issubset(range(documents)):
        raise msgspec.DecodeError(f"the results are not about the {documents} documents")
    if not results or not all(isfinite(result.relevance_score) for result in results):
        raise msgspec.DecodeError("there are no results, or a relevance_score is no number")
    return tuple(sorted(results, key=lambda result: (-result.relevance_score, result.index)))


def ranking_body(model: str, results: Sequence[Ranked], prompt_tokens: int) -> bytes:
    """The answer as upstreams hand it on, whatever the worker speaks."""
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return encode({"model": model, "results": results, "usage": usage})


def parted(body: bytes) -> tuple[dict[str, Raw], list[Ranked]]:
    """The fields of what :func:`ranking_body` made, and its results."""
    fields = _decode_fields(body)
    return fields, _decode_results(fields["results"])
