"""OpenAI's dialect: passes on a worker's answer as it is, and ends streams.

The Open Inference Protocol over HTTP uses it too.
"""

from typing import Any

import msgspec
from msgspec import Raw

from router.domain.errors import CallError
from router.domain.request import InferenceRequest
from router.ingress.errors import openai_error
from router.ingress.http.exchange import Headers, Sink
from router.ingress.progress import Progress
from router.pipeline.settlement.route_report import Report

JSON = ("content-type", "application/json")
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class OpenAIClient:
    """The :class:`router.pipeline.client.Client` of a call. A report goes out as ``route``."""

    __slots__ = ("_call", "_headers", "_progress", "_sink")

    def __init__(
        self, sink: Sink, call: InferenceRequest, progress: Progress | None = None
    ) -> None:
        self._sink = sink
        self._progress = progress
        self._call = call
        self._headers: Headers = []

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """See :class:`router.pipeline.client.Client`."""
        if report is not None and JSON in headers:
            fields = _decode_fields(body)
            fields["route"] = Raw(_encode(report))
            body = _encode(fields)
        await self._sink.answer(200, headers, body)

    async def start_stream(self, headers: Headers) -> None:
        """See :class:`router.pipeline.client.Client`."""
        self._headers = headers
        if self._progress is not None and self._progress.stop():
            return
        await self._sink.start_stream(headers)

    async def send(self, chunk: bytes) -> None:
        """See :class:`router.pipeline.client.Client`."""
        await self._sink.send(chunk)

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """See :class:`router.pipeline.client.Client`."""
        if error is not None:
            return await self._sink.end_stream(b"data: %b\n\n" % openai_error(error))
        await self._sink.end_stream(DONE if report is None else self._told(report) + DONE)

    def _told(self, report: Report) -> bytes:
        """The report as a last chunk without choices, like usage.

        The call that was served may be of another model than the one that was asked first.
        """
        served = dict(self._headers)
        chunk: dict[str, Any] = {
            "id": served["x-request-id"],
            "object": "chat.completion.chunk",
            "created": self._call.created_at_ms // 1000,
            "model": served["x-route-model"],
            "choices": [],
            "route": report,
        }
        return b"data: %b\n\n" % _encode(chunk)
