"""Answers a call in the words of a face whose calls are chats: whole, or event by event."""

from collections.abc import Callable
from typing import Protocol

from router.domain.errors import CallError
from router.ingress.http.exchange import Headers, Sink
from router.ingress.progress import Progress
from router.pipeline.settlement.route_report import Report


class Translation(Protocol):
    """Turns the chunks of one chat stream into a face's events."""

    def feed(self, chunk: bytes) -> bytes:
        """The events for some whole chunks."""
        ...

    def end(self, error: CallError | None = None, report: Report | None = None) -> bytes:
        """The last events."""
        ...


class TranslatedClient:
    """The :class:`router.pipeline.client.Client` of a call that came in another face's words.

    ``whole`` turns a completion into the body of the answer.
    """

    def __init__(
        self,
        sink: Sink,
        whole: Callable[[bytes, Report | None], bytes],
        stream: Translation,
        progress: Progress | None = None,
    ) -> None:
        self._sink = sink
        self._whole = whole
        self._stream = stream
        self._progress = progress

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """See :class:`router.pipeline.client.Client`."""
        await self._sink.answer(200, headers, self._whole(body, report))

    async def start_stream(self, headers: Headers) -> None:
        """See :class:`router.pipeline.client.Client`."""
        if self._progress is None or not self._progress.stop():
            await self._sink.start_stream(headers)

    async def send(self, chunk: bytes) -> None:
        """See :class:`router.pipeline.client.Client`."""
        events = self._stream.feed(chunk)
        if events:
            await self._sink.send(events)

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """See :class:`router.pipeline.client.Client`."""
        await self._sink.end_stream(self._stream.end(error, report))
