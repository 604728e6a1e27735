"""Anthropic's Messages API: turns the answer of a chat call, whole or streamed, into a message."""

from typing import Any

import msgspec

from router.contracts.bodies.completion import (
    Choice,
    Completion,
    TokenCounts,
    decode_completion,
)
from router.contracts.wire import UNREADABLE
from router.domain.errors import CallError, WorkerFailed
from router.domain.request import InferenceRequest
from router.ingress.errors import anthropic_error
from router.ingress.faces.tool_calls import HeardCall, ToolCalls
from router.ingress.faces.translated import TranslatedClient
from router.ingress.http.exchange import Sink
from router.ingress.progress import Progress
from router.pipeline.client import Client
from router.pipeline.settlement.route_report import Report
from router.ports.upstream import UpstreamFailed

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

_encode = msgspec.json.Encoder().encode


def message_of(body: bytes, request_id: str, report: Report | None = None) -> bytes:
    """A whole completion as a message, with the report as its ``route``.

    Raises ``WorkerFailed`` if the body is not a completion.
    """
    try:
        completion = decode_completion(body)
    except UNREADABLE as error:
        raise WorkerFailed(f"the worker's answer is no chat completion: {error}") from error
    choice = completion.choices[0] if completion.choices else Choice()
    reply = choice.message
    content: list[dict[str, Any]] = []
    if reply.thought:
        content.append({"type": "thinking", "thinking": reply.thought, "signature": ""})
    if reply.content:
        content.append({"type": "text", "text": reply.content})
    content += [
        {
            "type": "tool_use",
            "id": call.id or f"toolu_{index}",
            "name": call.function.name,
            "input": _arguments(call.function.arguments),
        }
        for index, call in enumerate(reply.tool_calls or ())
    ]
    message = _message(request_id, completion.model) | {
        "content": content,
        "stop_reason": _stop_reason(choice, called=bool(reply.tool_calls)),
        "stop_sequence": _stop_sequence(choice),
        "usage": _usage(completion.usage),
    }
    if report is not None:
        message["route"] = report
    return _encode(message)


class MessageStream:
    """Turns whole server-sent events of chunks into Anthropic's events."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._started = False
        self._kind = ""
        self._blocks = 0
        self._calls = ToolCalls()
        self._last = Choice()
        self._usage: TokenCounts | None = None

    def feed(self, chunk: bytes) -> bytes:
        """The events for some whole chunks."""
        out: list[bytes] = []
        for event in chunk.split(b"\n\n"):
            data = event.partition(b"data:")[2].strip()
            if data:
                self._take(_chunk(data), out)
        return b"".join(out)

    def end(self, error: CallError | None = None, report: Report | None = None) -> bytes:
        """The last events: the end of the message, or an error."""
        if error is not None:
            return b"event: error\ndata: %b\n\n" % anthropic_error(error)
        out: list[bytes] = []
        self._tell_rest(out)
        self._close(out)
        delta = {
            "stop_reason": _stop_reason(self._last, called=len(self._calls) > 0),
            "stop_sequence": _stop_sequence(self._last),
        }
        data: dict[str, Any] = {"delta": delta, "usage": _usage(self._usage)}
        if report is not None:
            data["route"] = report
        out += [_event("message_delta", data), _event("message_stop", {})]
        return b"".join(out)

    def _take(self, chunk: Completion, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            nothing: list[dict[str, Any]] = []
            message = _message(self._request_id, chunk.model) | {
                "content": nothing,
                "stop_reason": None,
                "stop_sequence": None,
                "usage": _usage(None),
            }
            out.append(_event("message_start", {"message": message}))
        self._usage = chunk.usage or self._usage
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        if choice.finish_reason:
            self._last = choice
        delta = choice.delta
        if delta.thought or delta.content:
            self._tell_rest(out)
        if delta.thought:
            self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
            self._delta({"type": "thinking_delta", "thinking": delta.thought}, out)
        if delta.content:
            self._open("text", {"type": "text", "text": ""}, out)
            self._delta({"type": "text_delta", "text": delta.content}, out)
        for piece in delta.tool_calls or ():
            for call in self._calls.take(piece):
                self._tell(call, out)

    def _tell_rest(self, out: list[bytes]) -> None:
        for call in self._calls.rest():
            self._tell(call, out)

    def _tell(self, call: HeardCall, out: list[bytes]) -> None:
        if not call.is_open:
            self._close(out)
            call.is_open = True
            id_ = call.id or f"toolu_{self._blocks}"
            block: dict[str, Any] = {"type": "tool_use", "id": id_, "name": call.name}
            self._open("tool_use", block | {"input": {}}, out)
        if call.untold:
            self._delta({"type": "input_json_delta", "partial_json": call.untold}, out)
            call.told += call.untold
            call.untold = ""

    def _open(self, kind: str, block: dict[str, Any], out: list[bytes]) -> None:
        if self._kind == kind:
            return
        self._close(out)
        self._kind = kind
        data = {"index": self._blocks, "content_block": block}
        out.append(_event("content_block_start", data))

    def _delta(self, delta: dict[str, Any], out: list[bytes]) -> None:
        out.append(_event("content_block_delta", {"index": self._blocks, "delta": delta}))

    def _close(self, out: list[bytes]) -> None:
        if self._kind:
            out.append(_event("content_block_stop", {"index": self._blocks}))
            self._blocks += 1
            self._kind = ""


def client_of(sink: Sink, call: InferenceRequest, progress: Progress | None = None) -> Client:
    """The client of a call that came as a message."""

    def whole(body: bytes, report: Report | None) -> bytes:
        return message_of(body, call.id, report)

    return TranslatedClient(sink, whole, MessageStream(call.id), progress)


def _chunk(data: bytes) -> Completion:
    try:
        return decode_completion(data)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_event", str(error)) from error


def _message(request_id: str, model: str | None) -> dict[str, Any]:
    id_ = f"msg_{request_id.replace('-', '')}"
    return {"id": id_, "type": "message", "role": "assistant", "model": model or ""}


def _usage(usage: TokenCounts | None) -> dict[str, int | float]:
    usage = usage or TokenCounts()
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details is not None else 0
    cost = {} if usage.cost is None else {"cost": usage.cost}
    return {
        "input_tokens": max(usage.prompt_tokens - cached, 0),
        "cache_read_input_tokens": max(cached, 0),
        "output_tokens": max(usage.completion_tokens, 0),
        **cost,
    }


def _stop_reason(choice: Choice, *, called: bool) -> str:
    if _stop_sequence(choice) is not None:
        return "stop_sequence"
    if called and choice.finish_reason in {None, "stop"}:
        return "tool_use"
    return STOP_REASONS.get(choice.finish_reason or "stop", "end_turn")


def _stop_sequence(choice: Choice) -> str | None:
    return choice.stop_reason if isinstance(choice.stop_reason, str) else None


def _arguments(text: str | None) -> object:
    """The arguments of a tool; text that is not JSON is passed on as it is."""
    try:
        return msgspec.json.decode(text or "{}")
    except UNREADABLE:
        return {"arguments": text}


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **fields}))
