"""OpenAI's dialect: turns JSON bodies into validated calls."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.domain.pricing import Usage
from router.domain.protocols import KINDS
from router.domain.request import (
    BYTES_PER_TOKEN,
    NO_WISHES,
    InferenceRequest,
    Kind,
    Modality,
    Wishes,
)
from router.ingress.faces.bodies import TEXT_ALONE, TRUNCATED, Body
from router.ingress.faces.face import Arrival
from router.ingress.unfit import unfit

ASIDE_FIELDS = frozenset({"documents", "functions", "response_format", "suffix"})
"""Fields besides messages and tools that a template may put into a prompt."""

TEMPLATE_TOKENS_MAX = 256
"""The most that a worker's chat template adds to a prompt."""

IMAGE_TOKENS_MAX = 16_384
"""The most prompt tokens of one image."""

CHOICES_MAX = 16
TOKENS_MAX = 1 << 31
FALLBACKS_MAX = 4
NULL = b"null"


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_wishes = msgspec.json.Decoder(Wishes).decode
encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What the fields of one kind of call ask for. ``texts`` is the number of prompts;
    ``tokens_listed`` is 0 for text. ``rows`` are in the unit of the kind's task, ``images_made``
    those of the answer.
    """

    texts: int = 1
    tokens_min: int = 0
    tokens_listed: int = 0
    images: list[str] = []
    modalities: frozenset[Modality] = TEXT_ALONE
    rows: int = 0
    images_made: int = 0


class Shape(msgspec.Struct, frozen=True):
    """A kind of call in OpenAI's words.

    ``asked`` checks a decoded body and says its size. What generates may be asked for
    ``tokens_least`` tokens or more.
    """

    kind: Kind
    decode: Callable[[bytes], Body]
    asked: Callable[[Any], Asked]
    tokens_least: int = 1


def parse_call(shape: Shape, body: bytes, arrival: Arrival) -> InferenceRequest:
    """The call that a JSON body describes. Raises ``RequestInvalid`` that names the bad field."""
    try:
        known = shape.decode(body)
        fields = _decode_fields(body)
    except msgspec.ValidationError as error:
        raise unfit(error) from None
    except UNREADABLE as unreadable:
        raise RequestInvalid(f"the body is not JSON: {unreadable}") from None
    kind = KINDS[shape.kind]
    model, fallbacks = _models(known)
    asked = shape.asked(known)
    choices = 1 if known.n is None else _between("n", known.n, 1, CHOICES_MAX)
    prompt_bytes = len(memoryview(fields[kind.prompt]))
    if asked.tokens_listed:
        prompt_bytes = asked.tokens_listed * BYTES_PER_TOKEN
    image_bytes = sum(map(len, asked.images))
    # Templates put more than the messages into a prompt (tools, schemas).
    tokens_max = (
        len(body) - image_bytes + len(asked.images) * IMAGE_TOKENS_MAX + TEMPLATE_TOKENS_MAX
    )
    return InferenceRequest(
        id=arrival.request_id,
        kind=shape.kind,
        model=model,
        fallbacks=fallbacks,
        bound=Usage(
            prompt_tokens=tokens_max,
            rows=asked.rows,
            images=len(asked.images) + asked.images_made,
        ),
        arrived_s=arrival.arrived_s,
        created_at_ms=arrival.created_at_ms,
        prompt_bytes=prompt_bytes - image_bytes + len(memoryview(fields.get("tools", b""))),
        aside_bytes=sum(
            len(memoryview(fields[name])) for name in ASIDE_FIELDS.intersection(fields)
        ),
        prompt_tokens_min=0 if TRUNCATED in fields else asked.tokens_min,
        modalities=asked.modalities,
        completion_tokens_asked=_tokens_asked(known, shape),
        choices_asked=choices * asked.texts if kind.generates else choices,
        texts=asked.texts,
        stream=bool(known.stream) and kind.generates,
        include_usage=bool(known.stream_options and known.stream_options.include_usage),
        explain=arrival.explain,
        wishes=_wishes(known.provider),
        fields=fields,
    )


def _tokens_asked(known: Body, shape: Shape) -> int:
    """The requested length of an answer, 0 if none."""
    if not KINDS[shape.kind].generates:
        return 0
    asked = [
        ("max_completion_tokens", known.max_completion_tokens),
        ("max_tokens", known.max_tokens),
    ]
    given = [
        _between(name, n, shape.tokens_least, TOKENS_MAX) for name, n in asked if n is not None
    ]
    return given[0] if given else 0


def _wishes(provider: Raw) -> Wishes:
    """The routing wishes; null counts as no wish."""
    if bytes(provider) == NULL:
        return NO_WISHES
    try:
        given = {name: raw for name, raw in _decode_fields(provider).items() if bytes(raw) != NULL}
        return _decode_wishes(encode(given)) if given else NO_WISHES
    except UNREADABLE as error:
        raise unfit(error, "provider") from None


def _models(known: Body) -> tuple[str, tuple[str, ...]]:
    """The first model and its fallbacks: ``model``, if given, then ``models`` in order."""
    if known.model and not known.models:
        return known.model, ()
    names = [*([known.model] if known.model else []), *(known.models or [])]
    wanted = list(dict.fromkeys(names))
    if not wanted:
        raise RequestInvalid("the field 'model' is missing", param="model")
    if len(wanted) > FALLBACKS_MAX + 1:
        raise RequestInvalid(
            f"models names {len(wanted) - 1} to fall back to; it may name {FALLBACKS_MAX}",
            param="models",
        )
    return wanted[0], tuple(wanted[1:])


def _between(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise RequestInvalid(f"{name} is {value}; it must be {low} to {high}", param=name)
    return value
