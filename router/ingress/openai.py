"""OpenAI's dialect: JSON bodies in, validated calls out, and the list of models."""

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.domain.pricing import Usage
from router.domain.request import NO_WISHES, InferenceRequest, Kind, Wishes
from router.ingress import messages

PATHS = {
    "/v1/chat/completions": Kind.CHAT,
    "/v1/completions": Kind.COMPLETION,
    "/v1/embeddings": Kind.EMBEDDING,
    messages.PATH: Kind.CHAT,
}
PROMPT_FIELDS = {Kind.CHAT: "messages", Kind.COMPLETION: "prompt", Kind.EMBEDDING: "input"}
TEMPLATE_TOKENS_MAX = 256
"""Room for what a worker's chat template adds to a prompt."""

IMAGES = (b'"image_url"', b"\\u00")
"""What a chat with images contains: their field's name, or letters that are written otherwise."""

IMAGE_TOKENS_MAX = 16_384
"""The most prompt tokens that an image is taken for when credit is held for it."""

CHOICES_MAX = 16
FALLBACKS_MAX = 4


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Known(msgspec.Struct):
    """The fields that routing needs. All others pass through unread."""

    model: str = ""
    models: list[str] | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    provider: Wishes | None = None


class _ImageURL(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    image_url: _ImageURL | str | None = None


class _Message(msgspec.Struct):
    content: list[_Part | str] | str | None = None


_decode_prompts = msgspec.json.Decoder(list[str | int | list[int]]).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_known = msgspec.json.Decoder(_Known).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
encode = msgspec.json.Encoder().encode


def parse_call(
    kind: Kind,
    body: bytes,
    *,
    request_id: str,
    explain: bool,
    arrived_s: float,
    created_at_ms: int,
) -> InferenceRequest:
    """A call out of a JSON body. Raises ``RequestInvalid`` naming the field that does not fit."""
    try:
        known = _decode_known(body)
        fields = _decode_fields(body)
    except msgspec.ValidationError as error:
        raise RequestInvalid(str(error)) from None
    except UNREADABLE as unreadable:
        raise RequestInvalid(f"the body is not JSON: {unreadable}") from None
    model, fallbacks = _models(known)
    prompt_field = PROMPT_FIELDS[kind]
    prompt = fields.get(prompt_field)
    if prompt is None:
        raise RequestInvalid(f"the field {prompt_field!r} is missing", param=prompt_field)
    choices = _between("n", known.n or 1, 1, CHOICES_MAX)
    asked = known.max_completion_tokens or known.max_tokens
    if asked is not None:
        _between("max_tokens", asked, 1, 1 << 31)
    text = bytes(prompt)
    if kind is Kind.COMPLETION and text.startswith(b"["):
        choices *= _prompts(text)
    images: list[str] = []
    if kind is Kind.CHAT and any(sign in text for sign in IMAGES):
        images = _image_urls(text)
    image_bytes = sum(len(url) for url in images)
    # Templates put more than the messages into a prompt (tools, schemas): all of it is held for.
    tokens_max = len(body) - image_bytes + len(images) * IMAGE_TOKENS_MAX + TEMPLATE_TOKENS_MAX
    stream = bool(known.stream) and kind is not Kind.EMBEDDING
    return InferenceRequest(
        id=request_id,
        kind=kind,
        model=model,
        fallbacks=fallbacks,
        bound=Usage(prompt_tokens=tokens_max, images=len(images)),
        arrived_s=arrived_s,
        created_at_ms=created_at_ms,
        prompt_bytes=len(text) - image_bytes + len(bytes(fields.get("tools", b""))),
        completion_tokens_asked=0 if kind is Kind.EMBEDDING else asked or 0,
        choices_asked=choices,
        stream=stream,
        include_usage=bool(known.stream_options and known.stream_options.include_usage),
        explain=explain,
        wishes=known.provider or NO_WISHES,
        fields=fields,
    )


def _prompts(prompt: bytes) -> int:
    """How many prompts a list holds: texts or token arrays, or it is itself one token array."""
    try:
        parsed = _decode_prompts(prompt)
    except UNREADABLE as error:
        raise RequestInvalid(f"prompt is not readable: {error}", param="prompt") from None
    return 1 if not parsed or isinstance(parsed[0], int) else len(parsed)


def _image_urls(messages: bytes) -> list[str]:
    """The images of a chat, wherever they are: what cannot be read cannot be charged for."""
    try:
        parsed = _decode_messages(messages)
    except UNREADABLE as error:
        raise RequestInvalid(f"messages are no chat: {error}", param="messages") from None
    parts = [
        part for message in parsed if isinstance(message.content, list) for part in message.content
    ]
    found = [part.image_url for part in parts if isinstance(part, _Part) and part.image_url]
    return [image if isinstance(image, str) else image.url for image in found]


def _models(known: _Known) -> tuple[str, tuple[str, ...]]:
    """``model`` and then ``models``, or the first of ``models`` and then the others."""
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
