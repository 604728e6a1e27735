"""OpenAI-compatible workers (vLLM, SGLang, llama.cpp, TGI, …) over HTTP."""

from collections.abc import AsyncGenerator, Callable, Mapping
from time import monotonic

import msgspec
from msgspec import Raw

from router.contracts.bodies.completion import Choice, Completion, decode_completion
from router.contracts.bodies.form import Part, form_of
from router.contracts.lenient import fields_of, rendered
from router.contracts.wire import UNREADABLE
from router.domain.catalog import Endpoint, Worker
from router.domain.pricing import Usage
from router.domain.protocols import KINDS, TASKS
from router.domain.request import BYTES_PER_TOKEN, AsResponse, InferenceRequest, Kind
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from router.settings import Limits
from router.upstream.byte_parts import byte_parts_of
from router.upstream.http import HTTPClient, post_for_answer
from router.upstream.readings import READINGS
from router.upstream.responses import ResponsesUpstream
from router.upstream.sse import EventStream, usage_of
from router.upstream.sse_parts import parts_of, parts_or

JSON = b"Content-Type: application/json\r\n"
OURS = frozenset({"provider", "models", "session_id"})
"""Fields for the router that a worker must not see."""

LENGTHS = frozenset({"max_tokens", "max_completion_tokens", "n_predict"})
"""Names for the length limit of an answer. Engines differ in which of them wins."""

PROBES: Mapping[str, Mapping[str, object]] = {
    "chat": {"messages": [{"role": "user", "content": "."}], "max_tokens": 1},
    "embeddings": {"input": "."},
    "rerank": {"query": ".", "documents": ["."]},
    "moderation": {"input": "."},
    "image": {"prompt": ".", "n": 1, "size": "256x256"},
    "speech": {"input": ".", "voice": "alloy"},
}
"""The fields of the smallest call, by task."""

SILENCE = (
    b"RIFF\x64\x06\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0"
    b"data\x40\x06\0\0" + bytes(1_600)
)
"""A tenth of a second of nothing, at 8 kHz in 16 bits."""

_encode = msgspec.json.Encoder().encode
_WITH_USAGE = Raw(b'{"include_usage":true}')


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_given = msgspec.json.Decoder(str | list[str]).decode


def without_key(_: Worker) -> bytes:
    """The market's workers know nobody: they are reached by routers alone."""
    return b""


class OpenAIUpstream:
    """See :class:`router.ports.upstream.Upstream`. ``key_line`` is the header with a key."""

    def __init__(
        self,
        client: HTTPClient,
        limits: Limits,
        key_line: Callable[[Worker], bytes] = without_key,
    ) -> None:
        self._client = client
        self._limits = limits
        self._key_line = key_line
        self._responses = ResponsesUpstream(client, limits)

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Call in the words in which the call came, if the worker speaks them."""
        told = self._told(request, endpoint)
        if told is not None:
            headers = _headers(request) + self._key_line(endpoint.worker)
            try:
                return await self._responses.answer(request, told, endpoint, headers)
            except UpstreamFailed as failed:
                if not self._responses.learn(failed, endpoint, monotonic()) or told.unsaid:
                    raise
        return await self._answer(request, endpoint)

    def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Call in the words in which the call came, if the worker speaks them."""
        told = self._told(request, endpoint)
        if told is None:
            return self._stream(request, endpoint)
        headers = _headers(request) + self._key_line(endpoint.worker)
        return parts_or(
            self._responses.stream(request, told, endpoint, headers),
            lambda failed: self._chat_after(failed, request, told, endpoint),
        )

    def _chat_after(
        self,
        failed: UpstreamFailed,
        request: InferenceRequest,
        told: AsResponse,
        endpoint: Endpoint,
    ) -> AsyncGenerator[StreamPart, None] | None:
        """The stream of a chat where a worker does not speak responses after all, else None."""
        if not self._responses.learn(failed, endpoint, monotonic()) or told.unsaid:
            return None
        return self._stream(request, endpoint)

    def _told(self, request: InferenceRequest, endpoint: Endpoint) -> AsResponse | None:
        """The call as a response, if the worker is called so.

        Raises ``UpstreamFailed`` if it can be said in no other way, and the worker does not speak
        responses after all.
        """
        told = request.as_response
        if told is None or self._responses.speaks(endpoint, monotonic()):
            return told
        if told.unsaid:
            raise UpstreamFailed("http_404", is_fault=False)
        return None

    async def _answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Call, check that the answer is a completion, and put the public model name on it.

        Some kinds of calls have other answers: see :mod:`router.upstream.readings`.
        """
        url = endpoint.worker.url + KINDS[request.kind].path
        headers = _headers(request) + self._key_line(endpoint.worker)
        if KINDS[request.kind].prompt:
            sent = render(request, endpoint)
        else:
            headers, sent = as_form(request, endpoint, headers)
        _, body = await post_for_answer(
            self._client, url, headers, sent, self._limits.answer_bytes_max
        )
        if (read := READINGS.get(request.kind)) is not None:
            return read(request, body)
        try:
            completion = decode_completion(body)
            if endpoint.deployment.upstream_model != request.model:
                body = _renamed(body, request.model)
        except UNREADABLE as error:
            raise UpstreamFailed("bad_json", str(error)) from error
        if completion.error is not None:
            raise UpstreamFailed("error_answer", completion.error.message)
        if not completion.choices and request.kind is not Kind.EMBEDDING:
            raise UpstreamFailed("no_choices")
        finish = completion.choices[0].finish_reason if completion.choices else None
        own_tokens = _own_tokens(completion)
        if completion.usage:
            usage = usage_of(completion.usage)
        else:
            usage = Usage(prompt_tokens=request.prompt_tokens, completion_tokens=own_tokens)
        return Answer(body, "application/json", usage, finish or "", own_tokens=own_tokens)

    def _stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Call and forward whole events, without usage that the client did not ask for; or bytes
        as they come.
        """
        kind = KINDS[request.kind]
        url = endpoint.worker.url + kind.path
        if kind.gives:
            return byte_parts_of(
                self._client,
                url,
                _headers(request) + self._key_line(endpoint.worker),
                render(request, endpoint),
                gives=kind.gives,
                usage=Usage(rows=request.bound.rows),
                bytes_max=self._limits.answer_bytes_max,
            )
        events = EventStream(
            model="" if endpoint.deployment.upstream_model == request.model else request.model,
            keep_usage=request.include_usage,
            event_bytes_max=self._limits.event_bytes_max,
            choices=request.choices_asked,
        )
        headers = _headers(request) + self._key_line(endpoint.worker)
        return parts_of(self._client, url, headers, render(request, endpoint), events)

    async def probe(self, endpoint: Endpoint) -> None:
        """Make the smallest call of its task: ask for one token, or about one short text."""
        model, url = endpoint.deployment.upstream_model, endpoint.worker.url
        url += KINDS[TASKS[endpoint.task].kinds[0]].path
        headers, body = JSON, _encode({"model": model, **PROBES.get(endpoint.task, {})})
        if endpoint.task == "transcription":
            kind, body = form_of({"model": model}, Part("file", SILENCE, "a.wav", "audio/wav"))
            headers = type_line(kind)
        await post_for_answer(self._client, url, headers, body, self._limits.answer_bytes_max)


def type_line(content_type: str) -> bytes:
    """The header of that type."""
    return b"Content-Type: %b\r\n" % content_type.encode()


def as_form(request: InferenceRequest, endpoint: Endpoint, headers: bytes) -> tuple[bytes, bytes]:
    """The headers and the body of a call that is a form: its fields, and its file."""
    fields = {
        name: _decode_given(given) for name, given in request.fields.items() if name not in OURS
    }
    described = dict(request.payload_headers)
    file = Part("file", request.payload, described["filename"], described["content-type"])
    kind, body = form_of({**fields, "model": endpoint.deployment.upstream_model}, file)
    return headers.replace(JSON, type_line(kind), 1), body


def _headers(request: InferenceRequest) -> bytes:
    """Ingress has checked that a ``traceparent`` is hexadecimal digits and dashes."""
    if not request.traceparent:
        return JSON
    return JSON + b"traceparent: " + request.traceparent.encode() + b"\r\n"


def render(request: InferenceRequest, endpoint: Endpoint) -> bytes:
    """The body for the worker: the client's fields, except for those that the router must set."""
    fields = dict(request.fields)
    for name in OURS:
        fields.pop(name, None)
    fields["model"] = Raw(_encode(endpoint.deployment.upstream_model))
    if request.stream and KINDS[request.kind].generates:
        fields["stream_options"] = _WITH_USAGE
    limit = request.bound.completion_tokens
    if limit:
        each = Raw(b"%d" % (limit // request.choices_asked))
        named = [name for name in LENGTHS if name in fields]
        fields |= dict.fromkeys(named or ("max_tokens",), each)
    return _encode(fields)


def _own_tokens(completion: Completion) -> int:
    """The answer's tokens by the router's own count, for a worker that reports none."""
    return -(-sum(map(_said_bytes, completion.choices)) // BYTES_PER_TOKEN)


def _said_bytes(choice: Choice) -> int:
    """The bytes of everything generated: text, thoughts and tool calls."""
    message = choice.message
    texts = [choice.text or message.content or "", message.thought]
    for call in message.tool_calls or ():
        texts += [call.function.name or "", call.function.arguments or ""]
    return sum(len(text.encode(errors="replace")) for text in texts)


def _renamed(body: bytes, model: str) -> bytes:
    try:
        return _encode(_decode_fields(body) | {"model": Raw(_encode(model))})
    except msgspec.MsgspecError:
        return rendered(fields_of(body) | {"model": model})
