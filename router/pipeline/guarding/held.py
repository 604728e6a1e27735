"""Holds a stream back until it is whole and judged."""

from router.domain.errors import CallError, GuardrailFailed
from router.pipeline.client import Client
from router.pipeline.settlement.route_report import Headers, Report

GUARDED = "x-route-guarded"
HELD_BYTES_MAX = 16 * 1024 * 1024
"""The longest stream that is held."""


class Held:
    """A :class:`Client` before that of a call. Nothing reaches the call's before ``release``."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._headers: Headers = []
        self._bytes = 0
        self._is_released = False
        self.chunks: list[bytes] = []

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """Never called."""
        raise NotImplementedError

    async def start_stream(self, headers: Headers) -> None:
        """Keep the headers."""
        self._headers = headers

    async def send(self, chunk: bytes) -> None:
        """Keep some events. Raises ``GuardrailFailed`` if there are too many."""
        if self._is_released:
            return await self._client.send(chunk)
        self._bytes += len(chunk)
        if self._bytes > HELD_BYTES_MAX:
            raise GuardrailFailed(
                f"the stream has over {HELD_BYTES_MAX} bytes, more than are held for a guardrail"
            )
        self.chunks.append(chunk)

    async def release(self, guarded: list[str]) -> None:
        """Send what was held, and what guards found of it. Nothing is held from now on."""
        self._is_released = True
        headers = [(name, told) for name, told in self._headers if name != GUARDED]
        # Before the others: the last may be the content type of bytes.
        await self._client.start_stream([(GUARDED, ", ".join(guarded)), *headers])
        if self.chunks:
            await self._client.send(b"".join(self.chunks))
            self.chunks.clear()

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """End the released stream."""
        await self._client.end_stream(error, report)
