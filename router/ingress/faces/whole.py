"""Answers a call that is never streamed in the words of its face."""

from collections.abc import Callable

from router.domain.errors import CallError
from router.ingress.http.exchange import Headers, Sink
from router.pipeline.settlement.route_report import Report


class WholeClient:
    """The :class:`router.pipeline.client.Client` of such a call.

    ``written`` turns what the upstream gave into the body of the answer.
    """

    __slots__ = ("_sink", "_written")

    def __init__(self, sink: Sink, written: Callable[[bytes, Report | None], bytes]) -> None:
        self._sink = sink
        self._written = written

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """See :class:`router.pipeline.client.Client`."""
        await self._sink.answer(200, headers, self._written(body, report))

    async def start_stream(self, headers: Headers) -> None:
        """Never called."""
        raise NotImplementedError

    async def send(self, chunk: bytes) -> None:
        """Never called."""
        raise NotImplementedError

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """Never called."""
        raise NotImplementedError
