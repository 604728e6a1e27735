"""OpenAI's Responses API: turns the answer of a chat call, whole or streamed, into a response."""

import time
from typing import Any

import msgspec

from router.contracts.bodies.completion import Choice, Completion, Message, decode_completion
from router.contracts.wire import UNREADABLE
from router.domain.errors import CallError, WorkerFailed
from router.ingress.faces.responses.passed import PASSED, Passed, is_response
from router.ingress.faces.responses.resource import Fields, Resource
from router.ingress.faces.tool_calls import HeardCall, ToolCalls
from router.ingress.faces.translated import TranslatedClient
from router.ingress.http.exchange import Sink
from router.ingress.progress import Progress
from router.pipeline.client import Client
from router.pipeline.settlement.route_report import Report
from router.ports.upstream import UpstreamFailed

DONE = b"data: [DONE]\n\n"
PARTS: dict[str, tuple[str, str, str]] = {
    "reasoning": ("reasoning", "reasoning_text", "text"),
    "text": ("message", "output_text", "text"),
    "refusal": ("message", "refusal", "refusal"),
}
"""What a model says: the item it goes into, the part, and the part's field."""

ITEM_IDS = {"message": "msg", "reasoning": "rs", "function_call": "fc"}

_encode = msgspec.json.Encoder().encode


class Output:
    """The items of an answer, and the events that tell them: at most one is open at a time."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._calls = ToolCalls()
        self._item: Fields | None = None
        self._part: Fields | None = None
        self._said: list[str] = []
        self._kind = ""
        self._sequence = 0

    def event(self, event: str, /, **fields: Any) -> bytes:
        """One event, numbered."""
        data = {"type": event, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (event.encode(), _encode(data))

    def say(self, said: Message, logprobs: list[Any], out: list[bytes]) -> None:
        """The answer goes on."""
        if said.thought or said.content or said.refusal:
            self._tell_rest(out)
        if said.thought:
            self._add("reasoning", said.thought, [], out)
        if said.content:
            self._add("text", said.content, logprobs, out)
        if said.refusal:
            self._add("refusal", said.refusal, [], out)
        for piece in said.tool_calls or ():
            for call in self._calls.take(piece):
                self._tell(call, out)

    def end(self, status: str, out: list[bytes]) -> None:
        """The answer is over: its last item is, too, or was cut off."""
        self._tell_rest(out)
        self._close(out, status)

    def _add(self, kind: str, text: str, logprobs: list[Any], out: list[bytes]) -> None:
        type_, part_type, field = PARTS[kind]
        if self._kind != kind:
            self._close(out)
            item: Fields = {"type": type_, "content": []}
            if type_ == "reasoning":
                item["summary"] = []
            else:
                item["role"] = "assistant"
            self._open(item, out)
            self._kind = kind
            self._part = {"type": part_type, field: ""}
            if kind == "text":
                self._part |= {"annotations": [], "logprobs": []}
            self._tell_part("response.content_part.added", out, part=self._part)
        self._said.append(text)
        more: Fields = {}
        if kind == "text" and self._part is not None:
            self._part["logprobs"] = [*self._part["logprobs"], *logprobs]
            more["logprobs"] = logprobs
        self._tell_part(f"response.{part_type}.delta", out, delta=text, **more)

    def _tell_rest(self, out: list[bytes]) -> None:
        for call in self._calls.rest():
            self._tell(call, out)

    def _tell(self, call: HeardCall, out: list[bytes]) -> None:
        if not call.is_open:
            self._close(out)
            call.is_open = True
            id_ = call.id or f"call_{self._resource.key}_{len(self._resource.output)}"
            item = {"type": "function_call", "call_id": id_, "name": call.name, "arguments": ""}
            self._open(item, out)
            self._kind = "function_call"
        if call.untold:
            self._said.append(call.untold)
            self._tell_item("response.function_call_arguments.delta", out, delta=call.untold)
            call.told += call.untold
            call.untold = ""

    def _open(self, item: Fields, out: list[bytes]) -> None:
        place = len(self._resource.output)
        id_ = f"{ITEM_IDS[item['type']]}_{self._resource.key}_{place}"
        self._item = {"id": id_, **item, "status": "in_progress"}
        self._said = []
        out.append(self.event("response.output_item.added", output_index=place, item=self._item))

    def _close(self, out: list[bytes], status: str = "completed") -> None:
        item, part = self._item, self._part
        if item is None:
            return
        said = "".join(self._said)
        if part is not None:
            _, part_type, field = PARTS[self._kind]
            part[field] = said
            more = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
            self._tell_part(f"response.{part_type}.done", out, **{field: said}, **more)
            self._tell_part("response.content_part.done", out, part=part)
            item["content"] = [part]
        else:
            item["arguments"] = said
            self._tell_item(
                "response.function_call_arguments.done", out, name=item["name"], arguments=said
            )
        item["status"] = status
        place = len(self._resource.output)
        out.append(self.event("response.output_item.done", output_index=place, item=item))
        self._resource.output.append(item)
        self._item = self._part = None
        self._kind = ""

    def _tell_part(self, event: str, out: list[bytes], /, **fields: Any) -> None:
        self._tell_item(event, out, content_index=0, **fields)

    def _tell_item(self, event: str, out: list[bytes], /, **fields: Any) -> None:
        if self._item is not None:
            place = len(self._resource.output)
            id_ = self._item["id"]
            out.append(self.event(event, item_id=id_, output_index=place, **fields))


def response_of(body: bytes, resource: Resource, report: Report | None = None) -> bytes:
    """A whole completion, or a worker's response, as a response with the report as its ``route``.

    Raises ``WorkerFailed`` if the body is neither.
    """
    if is_response(body):
        return _encode(Passed(resource).ended(body, report))
    try:
        completion = decode_completion(body)
    except UNREADABLE as error:
        raise WorkerFailed(f"the worker's answer is no chat completion: {error}") from error
    choice = completion.choices[0] if completion.choices else Choice()
    _hear(resource, completion)
    output = Output(resource)
    untold: list[bytes] = []
    output.say(choice.message, _logprobs(choice), untold)
    output.end(resource.status, untold)
    response = resource.ended(time.time())
    if report is not None:
        response["route"] = report
    return _encode(response)


class ResponseStream:
    """Turns whole server-sent events of chunks, or of a worker's response, into its events."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._output = Output(resource)
        self._passed = Passed(resource)
        self._last = b""
        self._started = False

    def feed(self, chunk: bytes) -> bytes:
        """The events for some whole chunks."""
        out: list[bytes] = []
        for event in chunk.split(b"\n\n"):
            data = event.partition(b"data:")[2].strip()
            if event.startswith(PASSED):
                self._pass(data, out)
            elif self._passed.has_begun and data:
                self._last = data  # Once the call is settled.
            elif data:
                self._take(_chunk(data), out)
        return b"".join(out)

    def end(self, error: CallError | None = None, report: Report | None = None) -> bytes:
        """The last events: the whole response, or why it failed."""
        out: list[bytes] = []
        if error is not None and not self._started:
            told = {"code": error.code, "message": error.message, "param": error.param}
            return self._output.event("error", **told, error=told)
        self._start(out)
        if error is not None:
            self._output.end("incomplete", out)
            out.append(self._output.event("response.failed", response=self._resource.failed(error)))
            return b"".join(out)
        if self._passed.has_begun:
            response = self._passed.ended(self._last, report)
            status = response["status"]
        else:
            status = self._resource.status
            self._output.end(status, out)
            response = self._resource.ended(time.time())
            if report is not None:
                response["route"] = report
        out += [self._output.event(f"response.{status}", response=response), DONE]
        return b"".join(out)

    def _pass(self, data: bytes, out: list[bytes]) -> None:
        event = self._passed.event(data)
        self._start(out)
        if event is not None:
            type_, fields = event
            out.append(self._output.event(type_, **fields))

    def _take(self, chunk: Completion, out: list[bytes]) -> None:
        _hear(self._resource, chunk)
        self._start(out)
        if chunk.choices:
            self._output.say(chunk.choices[0].delta, _logprobs(chunk.choices[0]), out)

    def _start(self, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            response = self._resource.running()
            out += [
                self._output.event("response.created", response=response),
                self._output.event("response.in_progress", response=response),
            ]


def client_of(sink: Sink, resource: Resource, progress: Progress | None = None) -> Client:
    """The client of a call that came as a response's request."""

    def whole(body: bytes, report: Report | None) -> bytes:
        return response_of(body, resource, report)

    return TranslatedClient(sink, whole, ResponseStream(resource), progress)


def _hear(resource: Resource, heard: Completion) -> None:
    resource.model = heard.model or resource.model
    resource.usage = heard.usage or resource.usage
    if heard.choices and heard.choices[0].finish_reason:
        resource.finish_reason = heard.choices[0].finish_reason


def _logprobs(choice: Choice) -> list[Any]:
    return choice.logprobs.content or [] if choice.logprobs is not None else []


def _chunk(data: bytes) -> Completion:
    try:
        return decode_completion(data)
    except UNREADABLE as error:
        raise UpstreamFailed("bad_event", str(error)) from error
