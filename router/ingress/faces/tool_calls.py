"""The tool calls of a stream of chat chunks, put together and told one after the other."""

import msgspec

from router.contracts.bodies.completion import ToolCall
from router.contracts.wire import UNREADABLE


class HeardCall:
    """A tool call: the arguments that the client was ``told``, and those still ``untold``."""

    __slots__ = ("id", "index", "is_open", "name", "told", "untold")

    def __init__(self, index: int | None, id_: str, name: str) -> None:
        self.index = index
        self.id = id_
        self.name = name
        self.told = self.untold = ""
        self.is_open = False

    def is_whole(self) -> bool:
        """Whether its arguments are a complete object."""
        arguments = self.told + self.untold
        return arguments.rstrip().endswith("}") and is_json(arguments)

    def goes_on_with(self, piece: ToolCall) -> bool:
        """Whether a piece continues this call."""
        if piece.index != self.index or (piece.id and self.id and piece.id != self.id):
            return False
        name = piece.function.name
        if (piece.id and self.id) or not name:
            return True
        return name == self.name and not (piece.function.arguments and self.is_whole())


class ToolCalls:
    """Chunks may mix the pieces of several calls, but clients get one call at a time: later calls
    wait until the first one's arguments are complete.
    """

    def __init__(self) -> None:
        self._calls: list[HeardCall] = []
        self._current = 0
        """The call that the client is receiving."""

    def __len__(self) -> int:
        return len(self._calls)

    def take(self, piece: ToolCall) -> list[HeardCall]:
        """The calls of which there is something to tell now, in order."""
        call = self._call_of(piece)
        if call is None:
            call = HeardCall(piece.index, piece.id or "", piece.function.name or "")
            self._calls.append(call)
        call.untold += piece.function.arguments or ""
        ready: list[HeardCall] = []
        while self._current < len(self._calls):
            current = self._calls[self._current]
            ready.append(current)
            if self._current + 1 == len(self._calls) or not current.is_whole():
                break
            self._current += 1
        return ready

    def rest(self) -> list[HeardCall]:
        """The calls that waited: something else follows, or nothing more."""
        waiting = self._calls[self._current :]
        self._current = len(self._calls)
        return waiting

    def _call_of(self, piece: ToolCall) -> HeardCall | None:
        """The call that a piece continues, None for a new one.

        Engines identify a call by its index. Some give every call the same index or none, and a new
        call has a new id or name.
        """
        if piece.index is None and not piece.id and not piece.function.name:
            return self._calls[-1] if self._calls else None
        return next((call for call in reversed(self._calls) if call.goes_on_with(piece)), None)


def is_json(text: str) -> bool:
    """Whether a text is one whole JSON value."""
    try:
        msgspec.json.decode(text)
    except UNREADABLE:
        return False
    return True
