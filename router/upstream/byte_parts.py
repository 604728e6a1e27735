"""Makes calls that are answered by bytes, such as speech, and yields them as they come."""

from collections.abc import AsyncGenerator

from router.domain.pricing import Usage
from router.ports.upstream import StreamPart, UpstreamFailed
from router.upstream.http import HTTPClient, raise_for_status

BYTES = "application/octet-stream"


async def byte_parts_of(
    client: HTTPClient,
    url: str,
    headers: bytes,
    body: bytes,
    *,
    gives: str,
    usage: Usage,
    bytes_max: int,
) -> AsyncGenerator[StreamPart, None]:
    """Call a worker and yield its answer, which is of a type that begins with ``gives``.

    ``usage`` is known beforehand, and counts from the first byte on.
    """
    connection = await client.post(url, headers, body)
    taken = 0
    try:
        if connection.status != 200:
            await raise_for_status(connection)
        told = connection.headers.get(b"content-type", b"").decode("latin-1").strip()
        if not told.casefold().startswith((gives, BYTES)):
            raise UpstreamFailed("content_type", told)
        while (data := await connection.chunk()) is not None:
            taken += len(data)
            if taken > bytes_max:
                raise UpstreamFailed("answer_too_large", f"over {bytes_max} bytes")
            if data:
                yield StreamPart(data, 0, usage, headers=(("content-type", told),))
    finally:
        client.release(connection)
    if not taken:
        raise UpstreamFailed("empty_answer")
    yield StreamPart(b"", 0, usage, done=True)
