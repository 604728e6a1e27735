"""The texts of a call and of its answer, for those who judge them."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from router.contracts.bodies.completion import Choice, Completion, Message, decode_completion
from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid, WorkerFailed, is_name
from router.domain.request import InferenceRequest
from router.pipeline.access.masking import DEPTH_MAX, NOT_TEXT, TEXT_MAX

TEXT_FIELDS = ("messages", "prompt", "suffix", "input", "query", "documents", "instructions")
"""Where the calls of all dialects have their texts, as faces make them."""
DATA = b"data:"
NOT_ASKED = NOT_TEXT.union({"annotations", "logprobs", "status"})
"""Parts of a response's items that no model reads as a text."""
WORDS = frozenset({"type", "role", "id", "tool_call_id", "call_id"})
"""Of the same those that are names. What is none is a text: templates have roles as they come."""
NOT_SAID = NOT_ASKED.union({"name", "result"})
"""The same of what a worker made: there a tool is the caller's, and its result an image."""


class _Delta(Struct, gc=False):
    """What an event of a response adds, or an ``item`` of it that is whole."""

    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str = ""
    item: Raw = Raw(b"")


class _Response(Struct, gc=False):
    object: str = ""
    output: list[Raw] = []


_decode_delta = msgspec.json.Decoder(_Delta).decode
_decode_response = msgspec.json.Decoder(_Response).decode


def asked_texts(call: InferenceRequest) -> list[str]:
    """Every text of a call, in order. Raises ``RequestInvalid`` for what is none.

    Of a response all that it says is read, for no more of it may go out as a chat.
    """
    texts: list[str] = []
    fields, skipped = call.fields, NOT_TEXT
    if call.as_response is not None:
        fields, skipped = call.as_response.fields, NOT_ASKED
    for name in TEXT_FIELDS:
        given = fields.get(name)
        if given is None:
            continue
        try:
            _collect(msgspec.json.decode(given), texts, 0, skipped)
        except UNREADABLE as error:
            raise RequestInvalid(f"{name} cannot be read: {error}", param=name) from None
    if sum(map(len, texts)) > TEXT_MAX:
        raise RequestInvalid(f"the call has over {TEXT_MAX} characters")
    return texts


def _collect(value: Any, texts: list[str], depth: int, skipped: frozenset[str]) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, list):
        _check_depth(depth)
        if value and all(isinstance(item, int) for item in value):
            raise RequestInvalid("a prompt of tokens cannot be read; send text")
        for item in value:
            _collect(item, texts, depth + 1, skipped)
    elif isinstance(value, dict):
        _check_depth(depth)
        for name, item in value.items():
            if name not in skipped or (name in WORDS and not _is_word(item)):
                _collect(item, texts, depth + 1, skipped)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and is_name(value) is not None


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise RequestInvalid(f"a field is nested deeper than the {DEPTH_MAX} that are read")


def answer_texts(body: bytes) -> list[str]:
    """What was generated, whole: a text for each choice and each of its kinds."""
    return _said([_read(body)]) + _response_texts(body)


def stream_texts(chunks: Iterable[bytes], last: bytes = b"") -> list[str]:
    """The same of a stream's events in OpenAI's shape, each chunk of whole events.

    ``last`` is the JSON that follows them: usage, or a whole response.
    """
    told = [
        line[len(DATA) :]
        for chunk in chunks
        for line in chunk.split(b"\n")
        if line.startswith(DATA)
    ]
    texts = _said([_read(data) for data in told]) + _event_texts(told)
    return texts + (_response_texts(last) if last else [])


def _response_texts(body: bytes) -> list[str]:
    """The texts of a response that a worker made, none of what is no response."""
    texts: list[str] = []
    try:
        made = _decode_response(body)
        for item in made.output if made.object == "response" else ():
            _collect(msgspec.json.decode(item), texts, 0, NOT_SAID)
    except (RequestInvalid, *UNREADABLE) as error:
        raise WorkerFailed(f"the answer cannot be read: {error}") from None
    return texts


def _event_texts(told: list[bytes]) -> list[str]:
    """The texts of a response's events: those that came in pieces, and those of whole items.

    Most texts are both, which makes them no more than one to who judges them.
    """
    pieces: dict[tuple[int, int, int, str], list[str]] = {}
    whole: list[str] = []
    try:
        for data in told:
            event = _decode_delta(data)
            if event.delta:
                at = (event.output_index, event.content_index, event.summary_index, event.type)
                pieces.setdefault(at, []).append(event.delta)
            elif bytes(event.item):
                _collect(msgspec.json.decode(event.item), whole, 0, NOT_SAID)
    except (RequestInvalid, *UNREADABLE) as error:
        raise WorkerFailed(f"the answer cannot be read: {error}") from None
    return ["".join(parts) for parts in pieces.values()] + whole


def _read(body: bytes) -> Completion:
    try:
        return decode_completion(body)
    except UNREADABLE as error:
        raise WorkerFailed(f"the answer cannot be read: {error}") from None


def _said(pieces: list[Completion]) -> list[str]:
    """Texts of the same choice and kind, which a stream gives in pieces, are one."""
    texts: dict[tuple[int, str, int], list[str]] = {}
    for piece in pieces:
        for choice in piece.choices:
            for kind, part, text in _parts(choice):
                texts.setdefault((choice.index, kind, part), []).append(text)
    return ["".join(parts) for parts in texts.values()]


def _parts(choice: Choice) -> list[tuple[str, int, str]]:
    parts = [("text", 0, choice.text)]
    messages: tuple[Message, ...] = (choice.message, choice.delta)
    for message in messages:
        parts += [
            ("content", 0, message.content or ""),
            ("refusal", 0, message.refusal or ""),
            ("thought", 0, message.thought),
        ]
        for place, called in enumerate(message.tool_calls or ()):
            at = place if called.index is None else called.index
            parts.append(("arguments", at, called.function.arguments or ""))
    return [part for part in parts if part[2]]
