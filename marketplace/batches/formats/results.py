"""Results of lines, as lines of a file, and which of them are kept. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from marketplace.inference.router_client import Answer

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Result:
    """What is written to the output or, ``failed``, the error file for ``count`` lines or rows."""

    text: bytes
    failed: bool
    count: int = 1


class Item(Protocol):
    """What one call is made of: a line, or many rows."""

    @property
    def number(self) -> int:
        """Its place in the file."""
        ...

    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def answered(self, id_: str, answer: Answer) -> Result:
        """What the answer, of whatever status, makes of it."""
        ...

    def broken(self, id_: str, code: str, message: str) -> Result:
        """What it is without an answer."""
        ...


def answered(*, id_: str, custom_id: str, status: int, request_id: str, body: bytes) -> Result:
    """The result of a call that was answered, with whatever status."""
    try:
        # One line, and proof that it is JSON.
        content = msgspec.Raw(msgspec.json.format(body, indent=-1))
    except msgspec.DecodeError:
        return broken(id_, custom_id, "invalid_answer", "The answer was not JSON.")
    response = {"status_code": status, "request_id": request_id, "body": content}
    text = _text(id_, custom_id, response, None)
    return Result(text, failed=status != HTTPStatus.OK)


def broken(id_: str, custom_id: str, code: str, message: str) -> Result:
    """The result of a line that has no answer."""
    return Result(_text(id_, custom_id, None, {"code": code, "message": message}), failed=True)


def error_of(body: bytes, status: int) -> tuple[str, str]:
    """Code and message of an error in OpenAI's shape, or of its status."""
    try:
        error = msgspec.json.decode(body)["error"]
        return str(error["code"]), str(error["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"status_{status}", f"The router answered with {status}."


def _text(
    id_: str,
    custom_id: str,
    response: Mapping[str, Any] | None,
    error: Mapping[str, str] | None,
) -> bytes:
    line = {"id": id_, "custom_id": custom_id, "response": response, "error": error}
    return msgspec.json.encode(line) + b"\n"


def ranges_of(numbers: Iterable[int]) -> list[Range]:
    """Numbers as ranges from first to last, in order."""
    ranges: list[Range] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


class Covered:
    """The numbers in some ranges, in as much memory as those take."""

    def __init__(self, ranges: Iterable[Sequence[int]]) -> None:
        self._ranges: list[Range] = []
        for first, last in sorted((item[0], item[1]) for item in ranges):
            if self._ranges and first <= self._ranges[-1][1] + 1:
                self._ranges[-1] = (self._ranges[-1][0], max(last, self._ranges[-1][1]))
            else:
                self._ranges.append((first, last))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, number, key=lambda one: one[0])
        return at > 0 and number <= self._ranges[at - 1][1]


@dataclass(slots=True)
class Finished:
    """Results that are in memory only: the next part."""

    results: dict[int, Result] = field(default_factory=dict)
    size_bytes: int = 0

    def add(self, number: int, result: Result) -> None:
        self.results[number] = result
        self.size_bytes += len(result.text)

    def count(self, *, failed: bool) -> int:
        """How many lines or rows ended so."""
        return sum(result.count for result in self.results.values() if result.failed is failed)

    def ranges(self, *, failed: bool) -> list[Range]:
        """The items that ended so."""
        return ranges_of(n for n, result in self.results.items() if result.failed is failed)

    def texts(self, *, failed: bool) -> list[bytes]:
        """In the order of the lines."""
        kept = sorted(self.results.items())
        return [result.text for _, result in kept if result.failed is failed]
