"""Workers: calling them, asking engines what they have to do, and hearing what they keep."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from msgspec import Struct

from router.contracts.engines.engine_report import EngineReport
from router.contracts.engines.kv_events import KvEvent
from router.domain.catalog import Endpoint, Worker
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest


class Answer(Struct, frozen=True, gc=False):
    """A whole answer. ``usage`` is None if the worker did not report it.

    ``own_tokens`` is the router's own count of its text, None if it did not count.
    """

    body: bytes
    content_type: str
    usage: Usage | None
    finish_reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    own_tokens: int | None = None


class StreamPart(Struct, frozen=True, gc=False):
    """Some whole server-sent events, or bytes of another type, ready to be forwarded.

    ``tokens`` counts the events with content. ``usage`` and ``finish_reason`` are set on the part
    that carried them. ``done`` marks the last part: the worker sent ``[DONE]``, which is not in
    ``chunk``. ``usage_chunk`` is the JSON of a chunk that only tells usage, if the client asked for
    it; it is not in ``chunk`` either, since it goes out once the call is settled. ``headers`` of
    the first part are for the client, the content type of bytes the last of them.
    """

    chunk: bytes
    tokens: int
    usage: Usage | None = None
    finish_reason: str = ""
    done: bool = False
    usage_chunk: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class UpstreamFailed(Exception):
    """A worker did not answer as it should. ``reason`` is one of few words.

    Another worker may be tried. ``is_fault`` is False if the worker is sound but cannot serve this
    call (it is full, or does not serve this path): that must not count towards its ejection.
    ``retry_after_s`` is how long a full worker asks to be left alone.
    """

    def __init__(
        self, reason: str, detail: str = "", *, is_fault: bool = True, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.is_fault = is_fault
        self.retry_after_s = retry_after_s

    @property
    def is_answer(self) -> bool:
        """Whether the worker lives and answered, but wrongly: the request may be the cause."""
        return self.reason.startswith(ANSWERED)


ANSWERED = ("http_", "grpc_", "error_", "bad_json", "bad_event", "bad_tensors", "no_choices")


class UpstreamRefused(Exception):
    """A worker says that the request itself is wrong (4xx): another worker would say the same.

    ``code`` and ``param`` are the worker's own, if it gives them.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class Upstream(Protocol):
    """Calls workers of one protocol.

    Both methods raise :class:`UpstreamFailed` or :class:`UpstreamRefused`. Cancelling the caller,
    or closing the iterator, closes the connection, which tells a worker to stop.
    """

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Call the worker and return its whole answer."""
        ...

    def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Call the worker and yield its answer as it comes."""
        ...

    async def probe(self, endpoint: Endpoint) -> None:
        """Make the smallest call that shows whether the endpoint works, and how fast."""
        ...


class EngineReports(Protocol):
    """Asks engines what they have to do."""

    async def report(self, worker: Worker) -> EngineReport:
        """Raises :class:`UpstreamFailed`, or ``ValueError`` for an invalid report."""
        ...


class KvEvents(Protocol):
    """Follows what engines say of their KV caches."""

    def follow(self, worker: Worker) -> AsyncGenerator[Sequence[KvEvent] | None, None]:
        """Yield what a worker says, in order; None where something was missed. Never ends by
        itself: what is unreachable is tried again.
        """
        ...
