"""Calls that are answered at once: chat, embeddings and tensors, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from waypost.api.streaming import StreamParser, streamed
from waypost.errors import AnswerInvalid, error_in_stream
from waypost.events import Event
from waypost.operations import IO, Resource, given, mapping, operation, stream
from waypost.shapes import (
    ChatAnswer,
    ChatChunk,
    Embeddings,
    Json,
    Priority,
    Routing,
    chat_answer_of,
    chat_chunk_of,
    embeddings_of,
    route_of,
)
from waypost.tensors import Tensor, Tensors, decode, encode, tensor_of
from waypost.wire import Head, Items, Request, Steps, json_request

METADATA_KEPT = 256
STREAM_QUIET_S = 90.0
"""The router sends a comment every twenty seconds at the latest."""
DONE = "[DONE]"

Message = Mapping[str, Any]


class Calls(Resource[IO]):
    """What both clients have themselves."""

    _datatypes: dict[str, Mapping[str, str]]

    @operation
    def chat(
        self,
        /,
        model: str,
        messages: Sequence[Message] | str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        routing: Routing | None = None,
        fallbacks: Sequence[str] = (),
        explain: bool = False,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Steps[ChatAnswer]:
        """A whole answer of a chat model; a text is a message of the user.

        ``fields`` are more fields of OpenAI's body, such as ``tools`` or ``response_format``.
        ``fallbacks`` are models to try in turn where ``model`` cannot answer. With ``explain`` the
        answer's ``route.explained`` says why it went where it went. With an ``idempotency_key`` the
        call is sent again where nobody knows whether it was done, and is charged once; it costs the
        router a look into its database. Raises :class:`WaypostError`.
        """
        body = _chat(model, messages, routing, fallbacks, max_tokens, temperature, fields)
        request = _call("/v1/chat/completions", body, explain, idempotency_key)
        whole = yield from self._send(request)
        return chat_answer_of(whole.json(), whole.head.headers)

    @stream
    def chat_stream(
        self,
        /,
        model: str,
        messages: Sequence[Message] | str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        routing: Routing | None = None,
        fallbacks: Sequence[str] = (),
        explain: bool = False,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Items[ChatChunk]:
        """The same as it is written. The last chunk has the usage, with ``explain`` also the route.

        Raises :class:`StreamBroken` where it ends before its end, and the error that it ends with.
        Nothing is sent again once it has begun.
        """
        body = _chat(model, messages, routing, fallbacks, max_tokens, temperature, fields)
        body = {"stream_options": {"include_usage": True}, **body, "stream": True}
        request = _call("/v1/chat/completions", body, explain, idempotency_key, is_stream=True)
        yield from streamed(self._open(request), _Chunks())

    @operation
    def embed(
        self,
        /,
        model: str,
        texts: Sequence[str] | str,
        *,
        routing: Routing | None = None,
        fallbacks: Sequence[str] = (),
        explain: bool = False,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Steps[Embeddings]:
        """A vector for each text. Raises :class:`WaypostError`."""
        body = {
            "model": model,
            "input": [texts] if isinstance(texts, str) else list(texts),
            "encoding_format": "base64",
            **_wishes(routing, fallbacks),
            **fields,
        }
        whole = yield from self._send(_call("/v1/embeddings", body, explain, idempotency_key))
        return embeddings_of(whole.json(), whole.head.headers)

    @operation
    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        version: str = "",
        priority: Priority | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Tensors]:
        """Tensors in, tensors out, by name; the first dimension counts rows.

        An input is a :class:`Tensor`, a NumPy array, or lists in lists: for these the model is
        asked once what datatypes it takes. Raises :class:`WaypostError`, and ValueError for lists
        that are no tensor.
        """
        given_tensors = {}
        for name, value in inputs.items():
            is_typed = isinstance(value, Tensor) or hasattr(value, "dtype")
            datatype = None if is_typed else (yield from self._datatype(model, name))
            given_tensors[name] = tensor_of(value, datatype)
        content, headers = encode(given_tensors, outputs)
        at_version = f"/versions/{quote(version, safe='')}" if version else ""
        request = Request(
            "POST",
            f"{_model_path(model)}{at_version}/infer",
            headers={**headers, **_asked(priority, idempotency_key)},
            content=content,
            is_repeatable=idempotency_key is not None,
        )
        whole = yield from self._send(request)
        name, tensors = decode(whole.body, whole.head.headers)
        return Tensors(tensors, name, route_of(whole.head.headers))

    @operation
    def record(self, request_id: str) -> Steps[Json]:
        """What happened to a call: its tokens, cost, times, attempts, and the decision.

        Raises :class:`CallUnknown` for one that is not your organisation's.
        """
        return (yield from self._data("/v1/generation", id=request_id))

    @operation
    def key(self) -> Steps[Json]:
        """What this key has cost, and what is left of its budget, in dollars."""
        return (yield from self._data("/v1/key"))

    @operation
    def credits(self) -> Steps[Json]:
        """All credit received and used so far, in dollars."""
        return (yield from self._data("/v1/credits"))

    def _data(self, path: str, **params: str) -> Steps[Json]:
        found = mapping((yield from self._json(json_request("GET", path, params=params))))
        return mapping(found.get("data"))

    def _datatype(self, model: str, name: str) -> Steps[str]:
        known = self._datatypes.get(model)
        if known is None:
            found = mapping((yield from self._json(json_request("GET", _model_path(model)))))
            try:
                known = {one["name"]: one["datatype"] for one in found["inputs"]}
            except (KeyError, TypeError) as error:
                raise AnswerInvalid(f"this is no model's metadata: {error!r}") from error
            if len(self._datatypes) >= METADATA_KEPT:
                self._datatypes.clear()
            self._datatypes[model] = known
        if name not in known:
            raise ValueError(f"{model} has no input {name!r}; it has {', '.join(known)}")
        return known[name]


class _Chunks(StreamParser[ChatChunk]):
    def begin(self, head: Head) -> None:
        self._headers = head.headers

    def read(self, event: Event) -> ChatChunk | None:
        if event.data == DONE:
            self.is_over = True
            return None
        try:
            body = mapping(json.loads(event.data))
        except ValueError:
            raise AnswerInvalid(f"an event is no JSON: {event.data[:200]!r}") from None
        if isinstance(body.get("error"), dict):
            raise error_in_stream(body["error"], request_id=self._headers.get("x-request-id", ""))
        return chat_chunk_of(body, self._headers)


def _chat(
    model: str,
    messages: Sequence[Message] | str,
    routing: Routing | None,
    fallbacks: Sequence[str],
    max_tokens: int | None,
    temperature: float | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    return {
        "model": model,
        "messages": said,
        **given(max_tokens=max_tokens, temperature=temperature),
        **_wishes(routing, fallbacks),
        **fields,
    }


def _wishes(routing: Routing | None, fallbacks: Sequence[str]) -> dict[str, Any]:
    provider = routing.as_json() if routing else None
    return given(provider=provider, models=list(fallbacks) or None)


def _call(
    path: str, body: Any, explain: bool, idempotency_key: str | None, is_stream: bool = False
) -> Request:
    headers = _asked(None, idempotency_key)
    if explain:
        headers["x-route-explain"] = "1"
    return json_request(
        "POST",
        path,
        body,
        headers=headers,
        is_repeatable=idempotency_key is not None,
        quiet_s=STREAM_QUIET_S if is_stream else None,
    )


def _asked(priority: str | None, idempotency_key: str | None) -> dict[str, str]:
    asked = {"x-route-priority": priority, "idempotency-key": idempotency_key}
    return {name: value for name, value in asked.items() if value is not None}


def _model_path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='/:')}"
