"""Masks personal data in calls whose key or organisation asks for it, before a worker has them.

Of other calls nothing is read. What was masked is counted by kind; the values are kept nowhere.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.errors import RequestInvalid
from router.domain.request import InferenceRequest
from router.ports.detector import Detector

PROGRAM = frozenset(
    {"model", "models", "provider", "response_format", "stop", "stream_options", "logit_bias"}
    | {"tools", "tool_choice", "functions", "function_call"}
)
"""Fields that a program wrote and no person did: they are left as they are."""
PROGRAM_OF_RESPONSES = PROGRAM.union({"text"})
"""Of a response, the field that says how its text is written."""
NOT_TEXT = frozenset(
    {"type", "role", "id", "tool_call_id", "call_id", "image_url", "input_audio", "audio_url"}
    | {"video_url", "file", "data", "file_data", "source", "encrypted_content"}
)
"""Parts of a message that are names, addresses of media or media."""
LONG_BYTES = 65_536
"""A call this long is looked through in a thread: it may take tens of milliseconds."""
TEXT_MAX = 4_000_000
"""The most characters that are looked through in a call."""
DEPTH_MAX = 64
"""The deepest nesting of a field that is looked through."""

_encode = msgspec.json.Encoder().encode


class Masking:
    """Puts marks in the place of what a detector finds."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    async def masked(self, request: InferenceRequest, kinds: frozenset[str]) -> InferenceRequest:
        """The same as :meth:`marked`. A long call is looked through beside the other calls."""
        if sum(len(memoryview(given)) for given in request.fields.values()) < LONG_BYTES:
            return self.marked(request, kinds)
        return await asyncio.to_thread(self.marked, request, kinds)

    def marked(self, request: InferenceRequest, kinds: frozenset[str]) -> InferenceRequest:
        """The call with marks such as ``[email-1]``; the same value has the same mark.

        Raises ``RequestInvalid`` for a field that cannot be looked through: such a call is not
        sent as it is.
        """
        marks = _Marks(self._detector, kinds)
        fields, counts = _marked(request.fields, marks, PROGRAM)
        told = request.as_response
        if told is not None:  # The same values in other words, and what a chat leaves out.
            told_fields, told_counts = _marked(told.fields, marks, PROGRAM_OF_RESPONSES)
            told = msgspec.structs.replace(told, fields=told_fields)
            counts |= told_counts
        if not counts:
            return request
        masked = tuple(sorted(counts.items()))
        return msgspec.structs.replace(request, fields=fields, as_response=told, masked=masked)


def _marked(
    fields: Mapping[str, Raw], marks: "_Marks", program: frozenset[str]
) -> tuple[dict[str, Raw], Counter[str]]:
    """The fields with marks in their texts, and how many by kind."""
    made = dict(fields)
    marks.begin()
    for name, given in fields.items():
        if name in program:
            continue
        before = sum(marks.counts.values())
        try:
            value = marks.in_value(msgspec.json.decode(given), 0)
        except UNREADABLE as error:
            raise RequestInvalid(f"{name} cannot be read: {error}", param=name) from None
        if sum(marks.counts.values()) > before:
            made[name] = Raw(_encode(value))
    return made, marks.counts


class _Marks:
    """The marks of one call."""

    def __init__(self, detector: Detector, kinds: frozenset[str]) -> None:
        self.counts: Counter[str] = Counter()
        self._detector = detector
        self._kinds = kinds
        self._marks: dict[tuple[str, str], str] = {}
        self._numbers: Counter[str] = Counter()
        self._characters = 0

    def begin(self) -> None:
        """Count anew; the marks stay."""
        self.counts = Counter()
        self._characters = 0

    def in_value(self, value: Any, depth: int) -> Any:
        """The value with the texts in it masked."""
        if isinstance(value, str):
            return self._in_text(value)
        if not isinstance(value, list | dict):
            return value
        if depth >= DEPTH_MAX:
            raise RequestInvalid(f"a field is nested deeper than the {DEPTH_MAX} that are masked")
        if isinstance(value, list):
            return [self.in_value(item, depth + 1) for item in value]
        return {
            name: item if name in NOT_TEXT else self.in_value(item, depth + 1)
            for name, item in value.items()
        }

    def _in_text(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > TEXT_MAX:
            raise RequestInvalid(
                f"the call has over {TEXT_MAX} characters, and more are not looked through for "
                "personal data"
            )
        parts: list[str] = []
        end = 0
        for found in self._detector.found(text, self._kinds):
            parts += [
                text[end : found.begin],
                self._mark(found.kind, text[found.begin : found.end]),
            ]
            end = found.end
        return "".join([*parts, text[end:]]) if parts else text

    def _mark(self, kind: str, value: str) -> str:
        self.counts[kind] += 1
        mark = self._marks.get((kind, value))
        if mark is None:
            self._numbers[kind] += 1
            mark = self._marks[kind, value] = f"[{kind}-{self._numbers[kind]}]"
        return mark
