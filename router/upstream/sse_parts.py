"""Makes calls that are answered by server-sent events, and yields the parts of the answer."""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from router.ports.upstream import StreamPart, UpstreamFailed
from router.upstream.http import HTTPClient, raise_for_status

EVENTS = b"text/event-stream"


class Events(Protocol):
    """Reads the bytes of a stream in some dialect."""

    @property
    def finished(self) -> bool:
        """Whether the answer is whole."""
        ...

    def feed(self, data: bytes) -> StreamPart | None:
        """What ``data`` completes, or None. Raises ``UpstreamFailed``."""
        ...


async def parts_of(
    client: HTTPClient, url: str, headers: bytes, body: bytes, events: Events
) -> AsyncGenerator[StreamPart, None]:
    """Call a worker, and yield its answer as it comes, read by ``events``."""
    connection = await client.post(url, headers, body)
    try:
        if connection.status != 200:
            await raise_for_status(connection)
        content_type = connection.headers.get(b"content-type", b"")
        if content_type.partition(b";")[0].strip().lower() != EVENTS:
            raise UpstreamFailed("content_type")
        while (data := await connection.chunk()) is not None:
            part = events.feed(data)
            if part is not None:
                yield part
                if part.done:
                    return
    finally:
        client.release(connection)
    if not events.finished:
        raise UpstreamFailed("truncated")
    yield StreamPart(b"", 0, done=True)


async def parts_or(
    parts: AsyncGenerator[StreamPart, None],
    after: Callable[[UpstreamFailed], AsyncGenerator[StreamPart, None] | None],
) -> AsyncGenerator[StreamPart, None]:
    """The parts of a call, or of the one that is made ``after`` it failed, if one is."""
    other: AsyncGenerator[StreamPart, None] | None = None
    try:
        async for part in parts:
            yield part
    except UpstreamFailed as failed:
        other = after(failed)
        if other is None:
            raise
    finally:
        await parts.aclose()
    if other is None:
        return
    try:
        async for part in other:
            yield part
    finally:
        await other.aclose()
