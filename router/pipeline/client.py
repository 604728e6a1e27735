"""Who receives the answer of a call."""

from typing import Protocol

from router.domain.errors import CallError
from router.pipeline.settlement.route_report import Headers, Report


class Client(Protocol):
    """Receives the answer. A send to a client that has left is cancelled; it is not an error."""

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """Send a whole answer. ``report`` is set if the call asked for its route."""
        ...

    async def start_stream(self, headers: Headers) -> None:
        """Begin an answer of server-sent events, or of the type that the last header says."""
        ...

    async def send(self, chunk: bytes) -> None:
        """Send some events; waits while the client is slower than the worker."""
        ...

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """End the stream: the answer is whole, or ``error`` says why not."""
        ...
