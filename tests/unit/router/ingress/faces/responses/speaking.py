"""A worker that speaks OpenAI's Responses API, as a real server."""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

USAGE: dict[str, Any] = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 13,
}
CHAT: dict[str, Any] = {
    "choices": [{"message": {"content": "as a chat"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
}
CHUNKS = (
    b'data: {"choices":[{"delta":{"content":"as a chat"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'
    b"data: [DONE]\n\n"
)
PROBE = [{"role": "user", "content": "."}]
THOUGHT: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_theirs",
    "summary": [],
    "encrypted_content": "c.ipher",
}
SEARCH: dict[str, Any] = {
    "type": "web_search_call",
    "id": "ws_theirs",
    "status": "completed",
    "action": {"type": "search", "query": "q"},
}


def message(text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": "msg_theirs",
        "role": "assistant",
        "status": status,
        "content": [part] if text else [],
    }


def event(type_: str, **fields: Any) -> bytes:
    data = {"type": type_, "sequence_number": 99, **fields}
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), msgspec.json.encode(data))


def text_events(text: str, place: int = 0) -> list[bytes]:
    """The events of a message, one of them for each letter."""
    at = {"item_id": "msg_theirs", "output_index": place, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return [
        event(
            "response.output_item.added",
            output_index=place,
            item=message("", "in_progress"),
        ),
        event("response.content_part.added", **at, part=part),
        *(event("response.output_text.delta", **at, delta=one, logprobs=[]) for one in text),
        event("response.output_text.done", **at, text=text, logprobs=[]),
        event("response.content_part.done", **at, part=part | {"text": text}),
        event("response.output_item.done", output_index=place, item=message(text)),
    ]


def item_events(item: dict[str, Any], place: int = 0) -> list[bytes]:
    return [
        event("response.output_item.added", output_index=place, item=item),
        event("response.output_item.done", output_index=place, item=item),
    ]


class Speaker:
    """Says ``hello``, after other items if there are any, and keeps what it heard.

    ``refuses`` are the statuses of its first answers; at ``breaks`` events its
    first streams break off, and at ``hangs`` it waits for ever.
    """

    def __init__(
        self,
        *items: dict[str, Any],
        status: str = "completed",
        usage: dict[str, Any] | None = USAGE,
        refuses: tuple[int, ...] = (),
        breaks: tuple[int, ...] = (),
        hangs: int | None = None,
    ) -> None:
        self.heard: list[dict[str, Any]] = []
        self.chats: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self._items = items
        self._status = status
        self._usage = usage
        self._refuses = list(refuses)
        self._breaks = list(breaks)
        self._hangs = hangs

    def response(self, output: list[dict[str, Any]], status: str) -> dict[str, Any]:
        why = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": "resp_theirs",
            "object": "response",
            "created_at": 1,
            "status": status,
            "model": "upstream-name",
            "output": output,
            "incomplete_details": why,
            "temperature": 0.7,
            "usage": self._usage if output else None,
            "store": False,
            "tools": [],
        }

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = msgspec.json.decode(await request.read())
        if request.path != "/v1/responses":
            if body["messages"] != PROBE:
                self.chats.append(body)
            if body.get("stream"):
                return web.Response(body=CHUNKS, content_type="text/event-stream")
            return web.json_response(CHAT)
        self.heard.append(body)
        if self._refuses:
            return web.json_response({"error": {"message": "no"}}, status=self._refuses.pop(0))
        output = [*self._items, message("hello")]
        if not body.get("stream"):
            return web.json_response(self.response(output, self._status))
        return await self._streamed(request, output)

    async def _streamed(
        self, request: web.Request, output: list[dict[str, Any]]
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        begun = self.response([], "in_progress")
        events = [
            event("response.created", response=begun),
            event("response.in_progress", response=begun),
        ]
        for place, item in enumerate(self._items):
            events += item_events(item, place)
        events += text_events("hello", len(self._items))
        events.append(
            event(f"response.{self._status}", response=self.response(output, self._status))
        )
        breaks = self._breaks.pop(0) if self._breaks else None
        try:
            for number, one in enumerate(events):
                if number == breaks and request.transport is not None:
                    request.transport.abort()
                    return answer
                if number == self._hangs:
                    await asyncio.Event().wait()
                await answer.write(one)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        await answer.write_eof()
        return answer
