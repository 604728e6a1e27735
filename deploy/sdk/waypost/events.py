"""Server-sent events out of bytes. Pure.

Source: the HTML standard, "Server-sent events".
"""

from __future__ import annotations

from dataclasses import dataclass

from waypost.errors import AnswerInvalid

EVENT_BYTES_MAX = 64 * 1024 * 1024
"""Of one event: as long as a whole answer of the router may be."""


@dataclass(frozen=True)
class Event:
    """``name`` is "message" unless the event has one; ``id`` is that of the last that had one."""

    name: str
    data: str
    id: str


class Events:
    """Takes bytes as they come and gives whole events."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._scanned = 0
        self._name, self._id = "", ""
        self._data: list[str] = []
        self._bytes = 0

    def feed(self, part: bytes) -> list[Event]:
        """The events that these bytes end. Raises :class:`AnswerInvalid` for a too long one."""
        self._rest += part
        found: list[Event] = []
        begin = 0
        while (end := self._rest.find(b"\n", max(begin, self._scanned))) >= 0:
            line = bytes(self._rest[begin:end]).removesuffix(b"\r")
            begin = end + 1
            if event := self._line(line):
                found.append(event)
        del self._rest[:begin]
        self._scanned = len(self._rest)
        if self._bytes + len(self._rest) > EVENT_BYTES_MAX:
            raise AnswerInvalid(f"an event of the stream has more than {EVENT_BYTES_MAX:,} bytes")
        return found

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._end()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value.decode("utf-8", "replace"))
            self._bytes += len(value) + 1
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        return None

    def _end(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data, self._bytes = "", [], 0
        return Event(name or "message", "\n".join(data), self._id) if data else None
