"""Open Inference Protocol v2 workers (Triton, KServe, …), and the REST transport to them.

Tensors pass through, JSON and binary alike, and the public model name is restored. Embeddings in
OpenAI's shape are translated for models with a ``TEXT`` input and an ``EMBEDDING`` output,
rerankings for those that take a ``QUERY`` and a ``DOCUMENT`` a row and give a ``SCORE``, and
moderations for those that take a ``TEXT`` and give a probability for each category.
"""

import array
import base64
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import prod
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Raw

from router.contracts import oip
from router.contracts.bodies.moderation import judged, moderation_body
from router.contracts.bodies.ranking import Ranked, ordered, ranking_body
from router.contracts.wire import UNREADABLE
from router.domain.catalog import Endpoint
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import Answer, StreamPart, UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.http import HTTPClient, header_lines, post_for_answer

HEADER_LENGTH = b"inference-header-content-length"
TRACEPARENT = "traceparent"
JSON = (("Content-Type", "application/json"),)
QUERIES_MAX = 16 * 1024 * 1024
"""The most characters of a query, counted for each of its documents."""

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    data: list[float]


class _Tensors(msgspec.Struct):
    outputs: list[_Tensor]


class _EmbeddingFields(msgspec.Struct):
    """The fields of an OpenAI embeddings request that have a meaning here."""

    input: str | list[str]
    encoding_format: str = "float"
    dimensions: int | None = None


class _RerankFields(msgspec.Struct):
    query: str
    documents: list[str]


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _ModerationFields(msgspec.Struct):
    input: str | list[str | _Part]


class Transport(Protocol):
    """Carries a body in the REST shape to a worker, and brings its answer back in that shape."""

    async def infer(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> tuple[dict[bytes, bytes], bytes]:
        """Headers (lower-case names) and body of the answer. Raises the upstream errors."""
        ...

    def stream(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> AsyncGenerator[Any, None]:
        """Each answer as it comes, as a ``ModelInferResponse``; decoupled models give several.

        Raises the upstream errors; after the first answer only ``UpstreamFailed``.
        """
        ...


class HTTPTransport:
    """Over REST, the body is sent as it is."""

    def __init__(self, client: HTTPClient, limits: Limits) -> None:
        self._client = client
        self._limits = limits

    async def infer(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> tuple[dict[bytes, bytes], bytes]:
        name = quote(endpoint.deployment.upstream_model, safe="")
        url = f"{endpoint.worker.url}/v2/models/{name}/infer"
        return await post_for_answer(
            self._client, url, header_lines(headers), body, self._limits.answer_bytes_max
        )

    async def stream(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> AsyncGenerator[Any, None]:
        """See :class:`Transport`. Over REST there is one answer to a request."""
        answer_headers, answer = await self.infer(endpoint, headers, body)
        declared = answer_headers.get(HEADER_LENGTH)
        try:
            length = None if declared is None else int(declared)
            message = oip.response_to_grpc(answer, length, endpoint.deployment.upstream_model)
        except oip.MISSHAPEN as error:
            raise UpstreamFailed("bad_tensors", str(error)) from error
        message.parameters[oip.FINAL].bool_param = True
        yield message


class OIPUpstream:
    """See :class:`router.ports.upstream.Upstream`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Infer; for a request in another shape, embed, rerank or moderate."""
        if request.kind is Kind.INFER:
            return await self._infer(request, endpoint)
        if request.kind is Kind.EMBEDDING:
            return await self._embed(request, endpoint)
        if request.kind is Kind.RERANK:
            return await self._rerank(request, endpoint)
        if request.kind is Kind.MODERATION:
            return await self._moderate(request, endpoint)
        raise UpstreamRefused(422, f"model {request.model} takes tensors, not {request.kind} calls")

    async def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Infer, and pass on each answer as it comes. The request's rows count once."""
        if request.kind is not Kind.INFER:
            raise UpstreamRefused(422, f"model {request.model} cannot stream; leave out stream")
        usage = Usage(rows=request.bound.rows)
        headers = (*request.payload_headers, *_trace(request))
        async with aclosing(self._transport.stream(endpoint, headers, request.payload)) as answers:
            async for message in answers:
                message.model_name = request.model
                yield StreamPart(oip.event_of(message), 0, usage)
        yield StreamPart(b"", 0, usage, done=True)

    async def probe(self, endpoint: Endpoint) -> None:
        """Infer one row of zeros or of empty texts."""
        tensors = [_blank_tensor(*tensor) for tensor in endpoint.inputs]
        if endpoint.task in ("embeddings", "moderation"):
            tensors = [_blank_tensor("TEXT", "BYTES", (-1, 1))]
        await self._transport.infer(endpoint, JSON, _encode({"inputs": tensors}))

    async def _infer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        headers, body = await self._transport.infer(
            endpoint, (*request.payload_headers, *_trace(request)), request.payload
        )
        declared = headers.get(HEADER_LENGTH)
        content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
        try:
            header_length = len(body) if declared is None else int(declared)
            head = _decode_fields(body[:header_length])
        except (*UNREADABLE, ValueError) as error:
            raise UpstreamFailed("bad_json", str(error)) from error
        head["model_name"] = Raw(_encode(request.model))
        renamed = _encode(head)
        extra: tuple[tuple[str, str], ...] = ()
        if declared is not None:
            extra = ((HEADER_LENGTH.decode(), str(len(renamed))),)
        return Answer(
            renamed + body[header_length:],
            content_type,
            Usage(rows=request.bound.rows),
            headers=extra,
        )

    async def _embed(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        fields = embedding_fields(request)
        texts = [fields.input] if isinstance(fields.input, str) else fields.input
        tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}
        _, body = await self._transport.infer(
            endpoint, (*JSON, *_trace(request)), _encode({"inputs": [tensor]})
        )
        try:
            outputs = {
                tensor.name: tensor for tensor in msgspec.json.decode(body, type=_Tensors).outputs
            }
            vectors, tokens = outputs["EMBEDDING"], outputs["TOKENS"]
            width = vectors.shape[1]
            prompt_tokens = max(int(sum(tokens.data)), 0)
        except (*UNREADABLE, LookupError, OverflowError) as error:
            raise UpstreamFailed("bad_tensors", str(error)) from error
        if vectors.shape[0] != len(texts) or len(vectors.data) != width * len(texts):
            raise UpstreamFailed("bad_tensors", f"shape {vectors.shape} for {len(texts)} texts")
        if fields.dimensions not in (None, width):
            raise UpstreamRefused(
                422, f"dimensions is {fields.dimensions}; embeddings of this model have {width}"
            )
        rows = [vectors.data[i * width : (i + 1) * width] for i in range(len(texts))]
        answer = {
            "object": "list",
            "model": request.model,
            "data": [
                {"object": "embedding", "index": i, "embedding": _vector(row, fields)}
                for i, row in enumerate(rows)
            ],
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }
        return Answer(_encode(answer), "application/json", Usage(prompt_tokens=prompt_tokens))

    async def _rerank(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        fields = msgspec.json.decode(_encode(request.fields), type=_RerankFields)
        count = len(fields.documents)
        if count * len(fields.query) > QUERIES_MAX:
            raise UpstreamRefused(
                422,
                f"query has {len(fields.query)} characters, and this model takes it once for each "
                f"of the {count} documents; together they may have {QUERIES_MAX}",
                param="query",
            )
        shape = {"datatype": "BYTES", "shape": [count, 1]}
        tensors = [
            {"name": "QUERY", **shape, "data": [fields.query] * count},
            {"name": "DOCUMENT", **shape, "data": fields.documents},
        ]
        _, body = await self._transport.infer(
            endpoint, (*JSON, *_trace(request)), _encode({"inputs": tensors})
        )
        try:
            outputs = {
                tensor.name: tensor for tensor in msgspec.json.decode(body, type=_Tensors).outputs
            }
            scores = outputs["SCORE"].data
            prompt_tokens = max(int(sum(outputs["TOKENS"].data)), 0)
            found = [Ranked(index, score) for index, score in enumerate(scores)]
            results = ordered(found, count)
        except (*UNREADABLE, LookupError, OverflowError) as error:
            raise UpstreamFailed("bad_tensors", str(error)) from error
        if len(results) != count:
            raise UpstreamFailed("bad_tensors", f"{len(results)} scores for {count} documents")
        return Answer(
            ranking_body(request.model, results, prompt_tokens),
            "application/json",
            Usage(prompt_tokens=prompt_tokens, rows=request.bound.rows),
        )

    async def _moderate(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        texts = moderated_texts(request)
        tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}
        _, body = await self._transport.infer(
            endpoint, (*JSON, *_trace(request)), _encode({"inputs": [tensor]})
        )
        try:
            outputs = {
                tensor.name: tensor.data
                for tensor in msgspec.json.decode(body, type=_Tensors).outputs
            }
            prompt_tokens = max(int(sum(outputs.pop("TOKENS"))), 0)
            results = judged({name.lower(): data for name, data in outputs.items()}, len(texts))
        except (*UNREADABLE, LookupError, OverflowError) as error:
            raise UpstreamFailed("bad_tensors", str(error)) from error
        return Answer(
            moderation_body(request.model, results, prompt_tokens),
            "application/json",
            Usage(prompt_tokens=prompt_tokens, rows=request.bound.rows),
        )


def _trace(request: InferenceRequest) -> tuple[tuple[str, str], ...]:
    return ((TRACEPARENT, request.traceparent),) if request.traceparent else ()


def embedding_fields(request: InferenceRequest) -> _EmbeddingFields:
    """The checked embeddings request. Raises ``UpstreamRefused`` that names the field at fault."""
    try:
        fields = msgspec.json.decode(_encode(request.fields), type=_EmbeddingFields)
    except UNREADABLE as error:
        raise UpstreamRefused(422, f"{error} (token arrays are not supported here)") from error
    if fields.encoding_format not in ("float", "base64"):
        raise UpstreamRefused(422, f"encoding_format {fields.encoding_format!r} is not known")
    if not fields.input:
        raise UpstreamRefused(422, "input is empty; give at least one text")
    return fields


def moderated_texts(request: InferenceRequest) -> list[str]:
    """The inputs of a moderation. Raises ``UpstreamRefused`` for what is no text."""
    given = msgspec.json.decode(_encode(request.fields), type=_ModerationFields).input
    if isinstance(given, str):
        return [given]
    texts = [item for item in given if isinstance(item, str)]
    if texts:
        return texts
    parts = [item for item in given if not isinstance(item, str)]
    if any(part.type != "text" for part in parts):
        raise UpstreamRefused(422, f"model {request.model} judges texts; leave out the images")
    return ["\n".join([part.text for part in parts])]


def _blank_tensor(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, object]:
    """The smallest tensor of a shape: free dimensions are 1."""
    fixed = [max(size, 1) for size in shape]
    blank: object = "" if datatype == "BYTES" else False if datatype == "BOOL" else 0
    return {"name": name, "datatype": datatype, "shape": fixed, "data": [blank] * prod(fixed)}


def _vector(row: list[float], fields: _EmbeddingFields) -> list[float] | str:
    if fields.encoding_format == "float":
        return row
    packed = array.array("f", row)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()
