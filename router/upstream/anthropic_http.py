"""Endpoints that speak Anthropic's Messages API, called with chats."""

from collections.abc import AsyncGenerator, Callable

from router.domain.catalog import Endpoint, Worker
from router.domain.pricing import Usage
from router.domain.request import BYTES_PER_TOKEN, InferenceRequest
from router.ports.upstream import Answer, StreamPart
from router.settings import Limits
from router.upstream.http import HTTPClient, post_for_answer
from router.upstream.messages_answer import MessageEvents, completion_of_message
from router.upstream.messages_request import messages_body
from router.upstream.sse_parts import parts_of

PATH = "/v1/messages"
VERSION = b"anthropic-version: 2023-06-01\r\n"
JSON = b"Content-Type: application/json\r\n"


class AnthropicUpstream:
    """Calls chats: see :class:`router.ports.upstream.Upstream`. ``key_line`` is the header with a
    key and the version.
    """

    def __init__(
        self, client: HTTPClient, limits: Limits, key_line: Callable[[Worker], bytes]
    ) -> None:
        self._client = client
        self._limits = limits
        self._key_line = key_line

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Call, and turn the message into a completion."""
        _, body = await post_for_answer(
            self._client,
            endpoint.worker.url + PATH,
            JSON + self._key_line(endpoint.worker),
            messages_body(request, endpoint),
            self._limits.answer_bytes_max,
        )
        said = completion_of_message(body, request.model, request.created_at_ms // 1_000)
        own_tokens = -(-said.text_bytes // BYTES_PER_TOKEN)
        usage = said.usage or Usage(request.prompt_tokens, completion_tokens=own_tokens)
        return Answer(
            said.body, "application/json", usage, said.finish_reason, own_tokens=own_tokens
        )

    def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Call, and turn the events into chunks."""
        events = MessageEvents(
            model=request.model,
            keep_usage=request.include_usage,
            event_bytes_max=self._limits.event_bytes_max,
            created_s=request.created_at_ms // 1_000,
        )
        headers = JSON + self._key_line(endpoint.worker)
        body = messages_body(request, endpoint)
        return parts_of(self._client, endpoint.worker.url + PATH, headers, body, events)
