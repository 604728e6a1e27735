"""Anthropic's Messages API as a worker's: turns messages, whole or streamed, into chat answers."""

from typing import Any

import msgspec
from msgspec import Raw

from router.contracts.wire import UNREADABLE
from router.domain.pricing import Usage
from router.ports.upstream import StreamPart, UpstreamFailed

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
END = b"\n\n"
DATA = b"data:"


class Counts(msgspec.Struct, frozen=True, gc=False):
    """``usage``; a stream tells the prompt at its start and the answer at its end."""

    input_tokens: int | None = 0
    cache_read_input_tokens: int | None = 0
    cache_creation_input_tokens: int | None = 0
    output_tokens: int | None = 0

    def usage(self) -> Usage:
        """In the router's disjoint classes. What is written to a cache is a prompt's token."""
        prompt = (self.input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        return Usage(
            prompt_tokens=max(prompt, 0),
            cached_tokens=max(self.cache_read_input_tokens or 0, 0),
            completion_tokens=max(self.output_tokens or 0, 0),
        )


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Message(msgspec.Struct, gc=False):
    id: str = ""
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Counts | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: Counts | None = None


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


class Said(msgspec.Struct, frozen=True, gc=False):
    """A whole answer as a chat completion."""

    body: bytes
    usage: Usage | None
    finish_reason: str
    text_bytes: int


def completion_of_message(body: bytes, model: str, created_s: int) -> Said:
    """Raises ``UpstreamFailed`` for what is no message."""
    try:
        message = _decode_message(body)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_json", str(error)) from error
    if not message.content and message.stop_reason is None:
        raise UpstreamFailed("no_choices")
    text = "".join(block.text for block in message.content if block.type == "text")
    thought = "".join(block.thinking for block in message.content)
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode()},
        }
        for block in message.content
        if block.type == "tool_use"
    ]
    finish = FINISH.get(message.stop_reason or "", "stop")
    reply: dict[str, Any] = {"role": "assistant", "content": text or None}
    reply |= {"reasoning_content": thought} if thought else {}
    reply |= {"tool_calls": calls} if calls else {"content": text}
    choice = {"index": 0, "message": reply, **_ended(finish, message.stop_sequence)}
    usage = message.usage.usage() if message.usage is not None else None
    made = {
        "id": message.id,
        "object": "chat.completion",
        "created": created_s,
        "model": model,
        "choices": [choice],
        **({"usage": _shown(usage)} if usage is not None else {}),
    }
    said = text + thought + "".join(bytes(block.input).decode() for block in message.content)
    return Said(_encode(made), usage, finish, len(said.encode(errors="replace")))


class MessageEvents:
    """Takes the bytes of a stream of messages, and gives whole chunks of a chat.

    ``keep_usage`` says that the client asked for usage, ``created_s`` is the chunks' Unix time.
    """

    def __init__(
        self, *, model: str, keep_usage: bool, event_bytes_max: int, created_s: int
    ) -> None:
        self._model = model
        self._keep_usage = keep_usage
        self._event_bytes_max = event_bytes_max
        self._created_s = created_s
        self._rest = b""
        self._id = ""
        self._counts = Counts()
        self._tools: dict[int, int] = {}
        self.finished = False

    def feed(self, data: bytes) -> StreamPart | None:
        """The chunks of the events that ``data`` completes, or None. Raises ``UpstreamFailed``."""
        data = (self._rest + data).replace(b"\r\n", b"\n")
        whole, end, self._rest = data.rpartition(END)
        if len(self._rest) > self._event_bytes_max:
            raise UpstreamFailed("event_too_large", f"over {self._event_bytes_max} bytes")
        if not end:
            return None
        chunks: list[bytes] = []
        tokens, finish = 0, ""
        usage: Usage | None = None
        for text in whole.split(END):
            event = _event_of(text)
            if event is None:
                continue
            if event.type == "message_stop":
                self.finished = True
                continue
            delta = self._delta(event)
            if delta is not None:
                tokens += 1
                chunks.append(self._chunk(delta))
            if event.delta is not None and event.delta.stop_reason:
                finish = FINISH.get(event.delta.stop_reason, "stop")
                usage = self._counts.usage()
                chunks.append(self._chunk({}, finish, event.delta.stop_sequence))
        return StreamPart(
            b"".join(chunks),
            tokens,
            usage,
            finish,
            self.finished,
            self._usage_chunk(usage) if usage is not None and self._keep_usage else b"",
        )

    def _delta(self, event: _Event) -> dict[str, Any] | None:
        """What an event adds to the answer. Notes what it counts. Raises ``UpstreamFailed``."""
        if event.type == "error":
            raise UpstreamFailed("error_event")
        if event.message is not None:
            self._id = event.message.id
            self._counts = event.message.usage or self._counts
        if event.usage is not None:
            output = event.usage.output_tokens
            self._counts = msgspec.structs.replace(self._counts, output_tokens=output)
        block = event.content_block
        if block is not None and block.type == "tool_use":
            self._tools[event.index] = len(self._tools)
            function = {"name": block.name, "arguments": ""}
            return self._called(event.index, {"id": block.id, "type": "function"}, function)
        told = event.delta
        if told is None:
            return None
        if told.partial_json:
            return self._called(event.index, {}, {"arguments": told.partial_json})
        if told.thinking:
            return {"reasoning_content": told.thinking}
        return {"content": told.text} if told.text else None

    def _called(self, index: int, head: dict[str, Any], function: dict[str, str]) -> dict[str, Any]:
        piece = {"index": self._tools.get(index, 0), **head, "function": function}
        return {"tool_calls": [piece]}

    def _chunk(
        self, delta: dict[str, Any], finish: str | None = None, sequence: str | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, **_ended(finish, sequence)}
        return b"data: %b\n\n" % _encode(self._head() | {"choices": [choice]})

    def _usage_chunk(self, usage: Usage) -> bytes:
        return _encode(self._head() | {"choices": [], "usage": _shown(usage)})

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created_s,
            "model": self._model,
        }


def _ended(finish: str | None, sequence: str | None) -> dict[str, str | None]:
    """What a choice says of its end, and as vLLM says it, of the stop sequence that ended it."""
    return {"finish_reason": finish} | ({"stop_reason": sequence} if sequence else {})


def _event_of(text: bytes) -> _Event | None:
    """The event of some lines; None for a comment. Raises ``UpstreamFailed``."""
    data = b"".join(
        line[len(DATA) :].strip() for line in text.split(b"\n") if line.startswith(DATA)
    )
    if not data:
        return None
    try:
        return _decode_event(data)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_event", str(error)) from error


def _shown(usage: Usage) -> dict[str, Any]:
    """Usage as OpenAI shows it."""
    prompt = usage.prompt_tokens + usage.cached_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": prompt + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
