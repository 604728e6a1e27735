"""Answers that are no completions: how each kind's is read, and what was used for it.

A new kind of whole answer is a function and a row of ``READINGS``.
"""

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from router.contracts.bodies.images import Images, check_images, decode_images
from router.contracts.bodies.moderation import decode_moderation
from router.contracts.bodies.ranking import decode_ranking, ranking_body
from router.contracts.bodies.sound import seconds_billed
from router.contracts.bodies.text_usage import TextUsage, tokens_told
from router.contracts.bodies.transcription import decode_transcription
from router.contracts.wire import UNREADABLE
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import Answer, UpstreamFailed

JSON, TEXT = "application/json", "text/plain; charset=utf-8"

Reading = Callable[[InferenceRequest, bytes], Answer]
"""Checks a worker's answer to a call. Raises ``UpstreamFailed``."""

_decode_text = msgspec.json.Decoder(str).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def _ranking(request: InferenceRequest, body: bytes) -> Answer:
    documents = len(_decode_texts(request.fields["documents"]))
    try:
        ranking = decode_ranking(body, documents)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_json", str(error)) from error
    tokens = tokens_told(ranking.usage, request.prompt_tokens)
    return Answer(
        ranking_body(request.model, ranking.results, tokens),
        JSON,
        Usage(prompt_tokens=tokens, rows=request.bound.rows),
    )


def _moderation(request: InferenceRequest, body: bytes) -> Answer:
    try:
        moderation = decode_moderation(body)
        fields = _decode_fields(body)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_json", str(error)) from error
    if len(moderation.results) != request.texts:
        raise UpstreamFailed(
            "bad_json", f"{len(moderation.results)} results for {request.texts} inputs"
        )
    tokens = tokens_told(moderation.usage, request.prompt_tokens)
    used = Usage(prompt_tokens=tokens, rows=request.bound.rows)
    return Answer(_told(request, fields, TextUsage(tokens, tokens)), JSON, used)


def _images(request: InferenceRequest, body: bytes) -> Answer:
    try:
        images: Images = decode_images(body)
        check_images(images, request.bound.images)
        fields = _decode_fields(body)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_json", str(error)) from error
    counted = images.usage.input_tokens if images.usage is not None else None
    tokens = request.prompt_tokens if counted is None else max(counted, 0)
    used = Usage(prompt_tokens=tokens, images=len(images.data))
    usage = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
    return Answer(_told(request, fields, usage), JSON, used)


def _transcription(request: InferenceRequest, body: bytes) -> Answer:
    """In JSON, or as text, which no worker can say a length with."""
    wanted = request.fields.get("response_format")
    if wanted is not None and _decode_text(wanted) not in ("json", "verbose_json"):
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise UpstreamFailed("bad_json", str(error)) from error
        return Answer(body, TEXT, Usage(rows=seconds_billed(request.payload, None)))
    try:
        transcription = decode_transcription(body)
        fields = _decode_fields(body)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_json", str(error)) from error
    seconds = seconds_billed(request.payload, transcription.seconds)
    fields["usage"] = Raw(_encode({"type": "duration", "seconds": seconds}))
    return Answer(_encode(fields), JSON, Usage(rows=seconds))


def _told(request: InferenceRequest, fields: dict[str, Raw], usage: object) -> bytes:
    """A worker's answer under the public name, and with a usage, to which the cost is added."""
    fields["model"] = Raw(_encode(request.model))
    if "usage" not in fields:
        fields["usage"] = Raw(_encode(usage))
    return _encode(fields)


READINGS: Mapping[Kind, Reading] = {
    Kind.RERANK: _ranking,
    Kind.MODERATION: _moderation,
    Kind.IMAGE: _images,
    Kind.TRANSCRIPTION: _transcription,
}
