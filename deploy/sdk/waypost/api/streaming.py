"""How a stream of server-sent events is read to its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from waypost.errors import StreamBroken
from waypost.events import Event, Events
from waypost.operations import stream_error
from waypost.wire import Broken, Close, Emit, Head, Items, More, Steps

T = TypeVar("T")


class StreamParser(ABC, Generic[T]):
    """Reads events of one kind of stream; sets ``is_over`` at the one that ends it."""

    is_over = False

    def begin(self, head: Head) -> None:
        """The stream is open."""

    @abstractmethod
    def read(self, event: Event) -> T | None:
        """What the event tells, if anything. Raises the error that it is."""


def streamed(opening: Steps[Head], parser: StreamParser[T]) -> Items[T]:
    """The stream's items. Raises :class:`StreamBroken` where its end does not come."""
    head = yield from opening
    parser.begin(head)
    events = Events()
    while not parser.is_over:
        part = yield More()
        if isinstance(part, Broken):
            raise stream_error(part)
        if not part:
            raise StreamBroken("the stream ended before its end was told")
        for event in events.feed(part):
            item = parser.read(event)
            if item is not None:
                yield Emit(item)
    yield Close()
