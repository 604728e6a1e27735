"""Lines of a file by the thousand, as one piece of text: a Python object for each costs more. Pure.

A line has something in it and ends with a newline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

CHUNK_BYTES = 1024 * 1024
NEWLINE, SPACE = 10, 32


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a file, and the number of each, from 1."""

    text: bytes
    numbers: Any

    def __len__(self) -> int:
        return len(self.numbers)

    def lines(self) -> list[bytes]:
        """Each without its newline."""
        return self.text.split(b"\n")[:-1]

    def after(self, place: int) -> Block:
        """The lines behind the one at this place."""
        return self._with(range(place + 1, len(self)))

    def longer(self, bytes_max: int) -> list[int]:
        """The places of lines with more bytes."""
        sizes = np.diff(_ends(self.text), prepend=0) - 1
        return [int(place) for place in np.flatnonzero(sizes > bytes_max)]

    def up_to(self, bytes_max: int) -> Block:
        """Without those."""
        without = set(self.longer(bytes_max))
        return self._with([place for place in range(len(self)) if place not in without])

    def _with(self, places: Sequence[int]) -> Block:
        lines = self.lines()
        text = b"".join(lines[place] + b"\n" for place in places)
        return Block(text, self.numbers[list(places)])


class Reader:
    """Takes lines from a file, in memory of some megabytes however long they are.

    A line of more than ``line_bytes_max`` is cut, but is still longer; 0: there is no bound.
    """

    def __init__(self, file: IO[bytes], line_bytes_max: int = 0) -> None:
        self._chunks = _chunks(file, line_bytes_max)
        self._text = b""
        self._ends = self._numbers = np.empty(0, np.int64)
        self._taken = 0
        self._read = 0

    def take(self, count: int) -> Block:
        """The next lines, so many unless the file ends."""
        texts: list[bytes] = []
        numbers = []
        while count and (self._taken < len(self._ends) or self._next_chunk()):
            first, self._taken = self._taken, min(self._taken + count, len(self._ends))
            start = int(self._ends[first - 1]) if first else 0
            texts.append(self._text[start : int(self._ends[self._taken - 1])])
            numbers.append(self._numbers[first : self._taken])
            count -= self._taken - first
        found = np.concatenate(numbers) if numbers else np.empty(0, np.int64)
        return Block(b"".join(texts), found)

    def _next_chunk(self) -> bool:
        """Look at further lines; False at the end of the file."""
        for chunk in self._chunks:
            text, ends = chunk, _ends(chunk)
            numbers = self._read + 1 + np.arange(len(ends))
            self._read += len(ends)
            starts = np.concatenate([[0], ends[:-1]])
            if (np.frombuffer(text, np.uint8)[starts] <= SPACE).any():
                # Some line may be empty.
                lines = text.split(b"\n")[:-1]
                kept = [place for place, line in enumerate(lines) if line.strip()]
                text, numbers = b"".join(lines[place] + b"\n" for place in kept), numbers[kept]
                ends = _ends(text)
            if len(ends):
                self._text, self._ends, self._numbers, self._taken = text, ends, numbers, 0
                return True
        return False


def _ends(text: bytes) -> Any:
    """Where each line ends: behind its newline."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == NEWLINE) + 1


def _chunks(file: IO[bytes], line_bytes_max: int) -> Iterator[bytes]:
    """Whole lines, of a file read piece by piece."""
    rest = b""
    while more := file.read(CHUNK_BYTES):
        end = more.rfind(b"\n") + 1
        if end:
            yield rest + more[:end]
            rest = more[end:]
        else:
            rest += more
        if line_bytes_max:
            rest = rest[: line_bytes_max + 1]
    if rest:
        yield rest + b"\n"
