"""The texts of a call and of its answer, for those who judge them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from router.contracts.bodies.completion import Choice, Completion, Message, decode_completion
from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid, WorkerFailed
from router.domain.request import InferenceRequest
from router.pipeline.access.masking import DEPTH_MAX, NOT_TEXT, TEXT_MAX

TEXT_FIELDS = ("messages", "prompt", "suffix", "input", "query", "documents", "instructions")
"""Where the calls of all dialects have their texts, as faces make them."""
DATA = b"data:"


def asked_texts(call: InferenceRequest) -> list[str]:
    """Every text of a call, in order. Raises ``RequestInvalid`` for what is none."""
    texts: list[str] = []
    for name in TEXT_FIELDS:
        given = call.fields.get(name)
        if given is None:
            continue
        try:
            _collect(msgspec.json.decode(given), texts, 0)
        except UNREADABLE as error:
            raise RequestInvalid(f"{name} cannot be read: {error}", param=name) from None
    if sum(map(len, texts)) > TEXT_MAX:
        raise RequestInvalid(f"the call has over {TEXT_MAX} characters")
    return texts


def _collect(value: Any, texts: list[str], depth: int) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, list):
        _check_depth(depth)
        if value and all(isinstance(item, int) for item in value):
            raise RequestInvalid("a prompt of tokens cannot be read; send text")
        for item in value:
            _collect(item, texts, depth + 1)
    elif isinstance(value, dict):
        _check_depth(depth)
        for name, item in value.items():
            if name not in NOT_TEXT:
                _collect(item, texts, depth + 1)


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise RequestInvalid(f"a field is nested deeper than the {DEPTH_MAX} that are read")


def answer_texts(body: bytes) -> list[str]:
    """What was generated, whole: a text for each choice and each of its kinds."""
    return _said([_read(body)])


def stream_texts(chunks: Iterable[bytes]) -> list[str]:
    """The same of a stream's events in OpenAI's shape, each chunk of whole events."""
    return _said(
        [
            _read(line[len(DATA) :])
            for chunk in chunks
            for line in chunk.split(b"\n")
            if line.startswith(DATA)
        ]
    )


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
