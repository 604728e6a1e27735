"""Workers that speak OpenAI's Responses API: what they are sent, and what they answer.

A call goes to them in the words in which it came. They keep nothing: routers do.
"""

import re
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from router.contracts.bodies.completion import CompletionDetails, PromptDetails, TokenCounts
from router.contracts.wire import UNREADABLE
from router.domain.catalog import RESPONSES, Endpoint
from router.domain.pricing import Usage
from router.domain.request import BYTES_PER_TOKEN, AsResponse, InferenceRequest
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from router.settings import Limits
from router.upstream.http import HTTPClient, post_for_answer
from router.upstream.sse import payload_of, usage_of
from router.upstream.sse_parts import parts_of

PATH = "/v1/responses"
OURS = frozenset({"provider", "models", "session_id"})
"""Fields for the router that a worker must not see."""

UNSPOKEN = frozenset({"http_404", "http_405"})
"""What a worker answers that does not speak responses after all."""
UNSPOKEN_S = 600.0
"""How long it is not asked again."""
UNSPOKEN_MAX = 10_000

FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""The finish reason of a chat, by why a response is incomplete."""
CREATED = "response.created"
BEFORE = frozenset({CREATED, "response.in_progress", "response.queued"})
"""Events before a model has said anything. The router tells them in its own words."""
ENDS = frozenset({"response.completed", "response.incomplete"})
FAILURES = frozenset({"error", "response.failed", "response.cancelled"})
is_known = re.compile(r"response(\.[a-z_]+)+").fullmatch
"""Types of events that pass. Pings of servers and what would be several lines do not."""
DELTA = ".delta"
END = b"\n\n"
DONE = b"[DONE]"
SEALED = "wp"
"""Before what a worker encrypted: see :func:`_sealed`."""


class _InputDetails(Struct, gc=False):
    cached_tokens: int | None = 0


class _OutputDetails(Struct, gc=False):
    reasoning_tokens: int | None = 0


class _Counts(Struct, gc=False):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Why(Struct, gc=False):
    reason: str = ""


class _Error(Struct, gc=False):
    message: str | None = None


class _Response(Struct, gc=False):
    """What is read of a response. ``output`` is None if there is none, so it is no response."""

    status: str = "completed"
    output: list[Raw] | None = None
    usage: _Counts | None = None
    incomplete_details: _Why | None = None
    error: _Error | None = None


class _Event(Struct, gc=False):
    type: str = ""
    response: Raw = Raw(b"")
    item: Raw = Raw(b"")


class _Item(Struct, gc=False):
    type: str = "message"
    id: str | None = None
    encrypted_content: str | None = None
    content: Raw = Raw(b"null")


class _Part(Struct, gc=False):
    text: str = ""
    refusal: str = ""


class _Said(Struct, gc=False):
    """The texts of an item of the output."""

    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    arguments: str | None = None
    input: str | None = None


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_said = msgspec.json.Decoder(_Said).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


class ResponsesUpstream:
    """Calls the workers of deployments that declare it.

    One that answers that there is no such path is remembered for a while.
    """

    def __init__(self, client: HTTPClient, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._unspoken_until_s: dict[str, float] = {}

    def speaks(self, endpoint: Endpoint, now_s: float) -> bool:
        """Whether an endpoint is called so."""
        return (
            RESPONSES in endpoint.deployment.parameters
            and self._unspoken_until_s.get(endpoint.worker.url, 0.0) <= now_s
        )

    def learn(self, failed: UpstreamFailed, endpoint: Endpoint, now_s: float) -> bool:
        """Whether a worker failed because it does not speak responses. It is not asked again."""
        if failed.reason not in UNSPOKEN:
            return False
        if len(self._unspoken_until_s) >= UNSPOKEN_MAX:
            self._unspoken_until_s.clear()
        self._unspoken_until_s[endpoint.worker.url] = now_s + UNSPOKEN_S
        return True

    async def answer(
        self, request: InferenceRequest, told: AsResponse, endpoint: Endpoint, headers: bytes
    ) -> Answer:
        """Call and return its response, by the public model name."""
        _, body = await post_for_answer(
            self._client,
            endpoint.worker.url + PATH,
            headers,
            responses_body(request, told, endpoint),
            self._limits.answer_bytes_max,
        )
        try:
            response = _decode_response(body)
            whole = _finished(_decode_fields(body), response, request, endpoint)
        except UNREADABLE as error:
            raise UpstreamFailed("bad_json", str(error)) from error
        if response.error is not None or response.status in ("failed", "cancelled"):
            why = response.error.message if response.error is not None else response.status
            raise UpstreamFailed("error_answer", why or "")
        if response.output is None:
            raise UpstreamFailed("no_choices")
        own_tokens = -(-sum(map(_said_bytes, response.output)) // BYTES_PER_TOKEN)
        usage = _usage(response)
        if usage is None:
            usage = Usage(prompt_tokens=request.prompt_tokens, completion_tokens=own_tokens)
        return Answer(
            whole,
            "application/json",
            usage,
            _finish_reason(response),
            own_tokens=own_tokens,
        )

    def stream(
        self, request: InferenceRequest, told: AsResponse, endpoint: Endpoint, headers: bytes
    ) -> AsyncGenerator[StreamPart, None]:
        """Call and forward its events, but for the first ones and the last."""
        events = ResponseEvents(request, endpoint, self._limits.event_bytes_max)
        body = responses_body(request, told, endpoint)
        return parts_of(self._client, endpoint.worker.url + PATH, headers, body, events)


def responses_body(request: InferenceRequest, told: AsResponse, endpoint: Endpoint) -> bytes:
    """The body for the worker: the client's fields, except for those that the router must set."""
    fields: dict[str, Any] = {name: raw for name, raw in told.fields.items() if name not in OURS}
    fields["model"] = endpoint.deployment.upstream_model
    fields["input"] = _opened_input(told.fields["input"], endpoint)
    fields["store"] = False
    limit = request.bound.completion_tokens
    if limit:
        fields["max_output_tokens"] = limit
    return _encode(fields)


class ResponseEvents:
    """Takes the bytes of a response's stream, and gives whole events.

    Each is ``event: <type>``, a line of ``data: `` and an empty one. The first one tells the public
    model name; what a worker says before its model does is left out. The response that ends the
    stream is no event, but the usage of the last part: it goes out once the call is settled.
    """

    def __init__(self, request: InferenceRequest, endpoint: Endpoint, event_bytes_max: int) -> None:
        self._request = request
        self._endpoint = endpoint
        self._event_bytes_max = event_bytes_max
        self._first = _event(CREATED, {"response": {"model": request.model}})
        self._rest = b""
        self.finished = False

    def feed(self, data: bytes) -> StreamPart | None:
        """The events that ``data`` completes, or None. Raises ``UpstreamFailed``."""
        data = (self._rest + data).replace(b"\r\n", b"\n")
        whole, end, self._rest = data.rpartition(END)
        if len(self._rest) > self._event_bytes_max:
            raise UpstreamFailed("event_too_large", f"over {self._event_bytes_max} bytes")
        if not end:
            return None
        kept: list[bytes] = []
        tokens = 0
        for text in whole.split(END):
            payload = payload_of(text)
            if not payload or payload == DONE:
                continue
            try:
                event = _decode_event(payload)
                if event.type in ENDS:
                    return self._ended(event, kept, tokens)
                if event.type in FAILURES:
                    raise UpstreamFailed("error_event")
                if event.type in BEFORE or is_known(event.type) is None:
                    continue
                tokens += event.type.endswith(DELTA)
                kept.append(self._kept(event, payload))
            except UNREADABLE as error:
                raise UpstreamFailed("bad_event", str(error)) from error
        return StreamPart(b"".join(kept), tokens) if kept else None

    def _kept(self, event: _Event, payload: bytes) -> bytes:
        if bytes(event.item):
            item = _sealed(event.item, self._endpoint)
            if item is not event.item:
                payload = _encode(_decode_fields(payload) | {"item": item})
        first, self._first = self._first, b""
        return b"%bevent: %b\ndata: %b\n\n" % (first, event.type.encode(), payload)

    def _ended(self, event: _Event, kept: list[bytes], tokens: int) -> StreamPart:
        self.finished = True
        response, fields = _decode_response(event.response), _decode_fields(event.response)
        usage = _usage(response)
        last = _finished(fields, response, self._request, self._endpoint)
        kept.append(self._first)
        if usage is None:  # Then there is nothing to put a cost beside.
            kept.append(_event(event.type, {"response": Raw(last)}))
            last = b""
        reason = _finish_reason(response)
        return StreamPart(b"".join(kept), tokens, usage, reason, done=True, usage_chunk=last)


def _event(type_: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), _encode({"type": type_, **fields}))


def _finished(
    fields: dict[str, Raw], response: _Response, request: InferenceRequest, endpoint: Endpoint
) -> bytes:
    """A whole response by the public model name, what is encrypted in it sealed."""
    made: dict[str, Any] = {**fields, "object": "response", "model": request.model}
    made["output"] = [_sealed(item, endpoint) for item in response.output or ()]
    return _encode(made)


def _usage(response: _Response) -> Usage | None:
    counts = response.usage
    if counts is None:
        return None
    cached, thought = counts.input_tokens_details, counts.output_tokens_details
    return usage_of(
        TokenCounts(
            counts.input_tokens,
            counts.output_tokens,
            PromptDetails(cached.cached_tokens if cached is not None else 0),
            CompletionDetails(thought.reasoning_tokens if thought is not None else 0),
        )
    )


def _finish_reason(response: _Response) -> str:
    why = response.incomplete_details
    if response.status == "incomplete":
        return FINISH.get(why.reason if why is not None else "", "length")
    return "stop"


def _said_bytes(item: Raw) -> int:
    """The bytes of everything generated: text, thoughts and calls."""
    try:
        said = _decode_said(item)
    except UNREADABLE:
        return 0
    texts = [said.arguments or "", said.input or ""]
    for part in (*(said.content or ()), *(said.summary or ())):
        texts += [part.text, part.refusal]
    return sum(len(text.encode(errors="replace")) for text in texts)


def _opened_input(given: Raw, endpoint: Endpoint) -> Raw | list[Raw]:
    """The input for a worker, which gets what its like encrypted as it was."""
    if not bytes(given).startswith(b"["):
        return given
    opened = (_opened(item, endpoint) for item in _decode_raws(given))
    return [item for item in opened if item is not None]


def _sealed(item: Raw, endpoint: Endpoint) -> Raw:
    """An item of the output, in which what is encrypted says whose it is and under which id.

    Only the deployment that encrypted it can read it, and checks that the id is that item's.
    """
    known = _decode_item(item)
    if not known.encrypted_content:
        return item
    whose = f"{SEALED}.{endpoint.deployment.id}.{known.id or ''}.{known.encrypted_content}"
    return Raw(_encode(_decode_fields(item) | {"encrypted_content": Raw(_encode(whose))}))


def _opened(item: Raw, endpoint: Endpoint) -> Raw | None:
    """An item of the input for a worker; None for a thought that it cannot read."""
    try:
        known = _decode_item(item)
    except UNREADABLE:
        return item
    sealed = known.encrypted_content or ""
    mark, _, rest = sealed.partition(".")
    deployment, _, rest = rest.partition(".")
    id_, has_all, content = rest.partition(".")
    if mark != SEALED or not has_all:
        has_thought = sealed or bytes(known.content) not in (b"null", b"[]")
        return item if known.type != "reasoning" or has_thought else None
    if deployment != str(endpoint.deployment.id):
        return None if known.type == "reasoning" else item
    fields: dict[str, Any] = {**_decode_fields(item), "encrypted_content": content}
    return Raw(_encode(fields | ({"id": id_} if id_ else {})))
