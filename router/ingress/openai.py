"""OpenAI's dialect: turns JSON bodies into validated calls."""

from collections.abc import Callable

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.domain.pricing import Usage
from router.domain.request import (
    BYTES_PER_TOKEN,
    NO_WISHES,
    InferenceRequest,
    Kind,
    Modality,
    Wishes,
)
from router.ingress import messages
from router.ingress.bodies import (
    TEXT_ALONE,
    TRUNCATED,
    Body,
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    check_chat,
    check_texts,
    fewest_tokens,
    tokens_listed,
    tokens_of,
)
from router.ingress.unfit import unfit

PATHS = {
    "/v1/chat/completions": Kind.CHAT,
    "/v1/completions": Kind.COMPLETION,
    "/v1/embeddings": Kind.EMBEDDING,
    messages.PATH: Kind.CHAT,
}
PROMPT_FIELDS = {Kind.CHAT: "messages", Kind.COMPLETION: "prompt", Kind.EMBEDDING: "input"}
ASIDE_FIELDS = ("documents", "functions", "response_format", "suffix")
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


class _Asked(msgspec.Struct, frozen=True, gc=False):
    """What the fields of one kind of call ask for. ``texts`` is the number of prompts;
    ``tokens_listed`` is 0 for text.
    """

    texts: int = 1
    tokens_min: int = 0
    tokens_listed: int = 0
    images: list[str] = []
    modalities: frozenset[Modality] = TEXT_ALONE


def parse_call(
    kind: Kind,
    body: bytes,
    *,
    request_id: str,
    explain: bool,
    arrived_s: float,
    created_at_ms: int,
) -> InferenceRequest:
    """The call that a JSON body describes. Raises ``RequestInvalid`` that names the bad field."""
    try:
        known = DECODE[kind](body)
        fields = _decode_fields(body)
    except msgspec.ValidationError as error:
        raise unfit(error) from None
    except UNREADABLE as unreadable:
        raise RequestInvalid(f"the body is not JSON: {unreadable}") from None
    model, fallbacks = _models(known)
    asked = _checked(known)
    choices = 1 if known.n is None else _between("n", known.n, 1, CHOICES_MAX)
    tokens_asked = _tokens_asked(known, kind)
    prompt_bytes = len(memoryview(fields[PROMPT_FIELDS[kind]]))
    if asked.tokens_listed:
        prompt_bytes = asked.tokens_listed * BYTES_PER_TOKEN
    image_bytes = sum(len(url) for url in asked.images)
    # Templates put more than the messages into a prompt (tools, schemas).
    tokens_max = (
        len(body) - image_bytes + len(asked.images) * IMAGE_TOKENS_MAX + TEMPLATE_TOKENS_MAX
    )
    stream = bool(known.stream) and kind is not Kind.EMBEDDING
    return InferenceRequest(
        id=request_id,
        kind=kind,
        model=model,
        fallbacks=fallbacks,
        bound=Usage(prompt_tokens=tokens_max, images=len(asked.images)),
        arrived_s=arrived_s,
        created_at_ms=created_at_ms,
        prompt_bytes=prompt_bytes - image_bytes + len(memoryview(fields.get("tools", b""))),
        aside_bytes=sum(len(memoryview(fields.get(name, b""))) for name in ASIDE_FIELDS),
        prompt_tokens_min=0 if TRUNCATED in fields else asked.tokens_min,
        modalities=asked.modalities,
        completion_tokens_asked=tokens_asked,
        choices_asked=choices if kind is Kind.EMBEDDING else choices * asked.texts,
        texts=asked.texts,
        stream=stream,
        include_usage=bool(known.stream_options and known.stream_options.include_usage),
        explain=explain,
        wishes=_wishes(known.provider),
        fields=fields,
    )


DECODE: dict[Kind, Callable[[bytes], Body]] = {
    Kind.CHAT: msgspec.json.Decoder(ChatBody).decode,
    Kind.COMPLETION: msgspec.json.Decoder(CompletionBody).decode,
    Kind.EMBEDDING: msgspec.json.Decoder(EmbeddingBody).decode,
}


def _checked(body: Body) -> _Asked:
    if isinstance(body, ChatBody):
        chat = check_chat(body)
        least = tokens_of(chat.characters)
        return _Asked(1, least, images=chat.images, modalities=chat.modalities)
    if isinstance(body, CompletionBody):
        prompts = check_texts("prompt", body.prompt)
        return _Asked(len(prompts), fewest_tokens(prompts), tokens_listed(prompts))
    if isinstance(body, EmbeddingBody):
        if body.input == "":
            raise RequestInvalid("input is empty; give at least one text", param="input")
        texts = check_texts("input", body.input)
        return _Asked(len(texts), tokens_listed=tokens_listed(texts))
    return _Asked()


def _tokens_asked(known: Body, kind: Kind) -> int:
    """The requested length of an answer, 0 if none. A completion of 0 tokens only scores."""
    if kind is Kind.EMBEDDING:
        return 0
    least = 0 if kind is Kind.COMPLETION else 1
    asked = [
        ("max_completion_tokens", known.max_completion_tokens),
        ("max_tokens", known.max_tokens),
    ]
    given = [_between(name, n, least, TOKENS_MAX) for name, n in asked if n is not None]
    return given[0] if given else 0


def _wishes(provider: Raw) -> Wishes:
    """The routing wishes; null counts as no wish."""
    if bytes(provider) == NULL:
        return NO_WISHES
    try:
        given = {name: raw for name, raw in _decode_fields(provider).items() if bytes(raw) != NULL}
        return _decode_wishes(encode(given)) if given else NO_WISHES
    except msgspec.ValidationError as error:
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
