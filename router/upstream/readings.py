"""Answers that are no completions: how each kind's is read, and what was used for it.

A new kind of whole answer is a function and a row of ``READINGS``.
"""

from collections.abc import Callable, Mapping

import msgspec

from router.contracts.ranking import decode_ranking, ranking_body
from router.contracts.wire import UNREADABLE
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import Answer, UpstreamFailed

JSON = "application/json"

Reading = Callable[[InferenceRequest, bytes], Answer]
"""Checks a worker's answer to a call. Raises ``UpstreamFailed``."""

_decode_texts = msgspec.json.Decoder(list[str]).decode


def _ranking(request: InferenceRequest, body: bytes) -> Answer:
    documents = len(_decode_texts(request.fields["documents"]))
    try:
        ranking = decode_ranking(body, documents)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_json", str(error)) from error
    tokens = request.prompt_tokens if ranking.prompt_tokens is None else ranking.prompt_tokens
    return Answer(
        ranking_body(request.model, ranking.results, tokens),
        JSON,
        Usage(prompt_tokens=tokens, rows=request.bound.rows),
    )


READINGS: Mapping[Kind, Reading] = {Kind.RERANK: _ranking}
