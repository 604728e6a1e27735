"""The Open Inference Protocol v2 over gRPC, as used by Triton's clients.

A request becomes the equivalent REST call (:mod:`router.contracts.oip`) and goes the same way, or
to the router that owns the model. Its answer becomes protobuf again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import grpc
import grpc.aio
import msgspec
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from router.contracts import oip
from router.contracts.bodies.completion import Failure, decode_completion
from router.contracts.wire import UNREADABLE
from router.domain.addresses import host_and_port
from router.domain.catalog import Model
from router.domain.errors import CallError, RequestInvalid, RouterBusy
from router.domain.request import InferenceRequest, traced
from router.ingress.errors import error_headers
from router.ingress.http.exchange import Headers
from router.ingress.oip import oip_http
from router.ingress.operations.operations import Operations
from router.ingress.proxy.forward import Forwarder
from router.pipeline.gateway import Gateway
from router.pipeline.plans.routing_table import NOBODY, Grant
from router.pipeline.settlement.route_report import Report
from router.settings import Limits

pb: Any = service_pb2
pb_grpc: Any = service_pb2_grpc

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    402: grpc.StatusCode.RESOURCE_EXHAUSTED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.INVALID_ARGUMENT,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""From the table of errors to gRPC; all others are ``INTERNAL``."""

HEADER_LENGTH = oip_http.HEADER_LENGTH.decode()
EVENT_END = b"\n\n"
OK = 200
CONTENT_TYPE = "application/octet-stream"

log = logging.getLogger(__name__)


class _Refusal(msgspec.Struct):
    error: str


class OwnerRefused(Exception):
    """The router that owns the model answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Answer:
    """The :class:`router.pipeline.client.Client` of a call: keeps the answer for its caller."""

    def __init__(self) -> None:
        self.headers: Headers = []
        self.body = b""

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """See :class:`router.pipeline.client.Client`."""
        self.headers, self.body = headers, body

    async def start_stream(self, headers: Headers) -> None:
        """Never called: tensors come whole."""
        raise NotImplementedError

    async def send(self, chunk: bytes) -> None:
        """Never called: tensors come whole."""
        raise NotImplementedError

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """Never called: tensors come whole."""
        raise NotImplementedError


class _Stream:
    """The client of a call in a stream: writes each answer as fast as the caller reads."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._rest = b""

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """Never called: answers come one by one."""
        raise NotImplementedError

    async def start_stream(self, headers: Headers) -> None:
        """The stream exists already."""

    async def send(self, chunk: bytes) -> None:
        """See :class:`router.pipeline.client.Client`."""
        *events, self._rest = (self._rest + chunk).split(EVENT_END)
        for event in events:
            data = event.removeprefix(b"data: ")
            if data != b"[DONE]":
                await self._write(_told_by(data))

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """See :class:`router.pipeline.client.Client`."""
        if error is not None:
            await self._write(pb.ModelStreamInferResponse(error_message=error.message))

    async def _write(self, response: Any) -> None:
        try:
            await self._context.write(response)
        except grpc.aio.InternalError as error:
            raise asyncio.CancelledError("the client left while it was written to") from error


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """``inference.GRPCInferenceService`` without repository and shared memory."""

    def __init__(
        self,
        gateway: Gateway,
        operations: Operations,
        *,
        limits: Limits,
        new_call: Callable[[], tuple[str, float, int]],
        forwarder: Forwarder | None = None,
        trace_share: float | None = None,
    ) -> None:
        """``new_call`` gives a request id, the monotonic seconds and the Unix milliseconds."""
        self._forwarder = forwarder
        self._gateway = gateway
        self._operations = operations
        self._limits = limits
        self._new_call = new_call
        self._trace_share = trace_share

    async def ServerLive(self, request: Any, context: Any) -> Any:
        """Whether the process runs."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        """Whether the router has a catalog and is not stopping."""
        return pb.ServerReadyResponse(ready=self._operations.is_ready)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        """The router's name and version."""
        return pb.ServerMetadataResponse(name=oip_http.SERVER_NAME, version="2")

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether any worker can take a call of the model."""
        async with self._told(context):
            route = self._route(request)
            return pb.ModelReadyResponse(ready=oip_http.route_is_ready(route))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """The tensors of a model. Needs a key."""
        async with self._told(context):
            grant = self._gateway.authenticate(_metadata(context, "authorization"))
            model = self._route(request, grant).model
            made = pb.ModelMetadataResponse(
                name=model.name, versions=[model.version], platform=oip_http.SERVER_NAME
            )
            for tensors, target in ((model.inputs, made.inputs), (model.outputs, made.outputs)):
                for name, datatype, shape in tensors:
                    target.add(name=name, datatype=datatype, shape=shape)
            return made

    async def ModelStatistics(self, request: Any, context: Any) -> Any:
        """What this router has answered since its start. Needs a key."""
        async with self._told(context):
            grant = self._gateway.authenticate(_metadata(context, "authorization"))
            path = oip_http.ModelPath(request.name, request.version, oip_http.STATISTICS)
            models = self._operations.meters.models
            body = oip_http.model_statistics(self._gateway.table, grant, models, path)
            return json_format.Parse(body, pb.ModelStatisticsResponse())

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Answer one call."""
        async with self._told(context):
            answer, headers = await self._infer(request, context)
            context.set_trailing_metadata(headers)
            return answer

    async def ModelStreamInfer(self, requests: Any, context: Any) -> None:
        """Each request of the stream is its own call, with one answer or more.

        An error takes the place of an answer.
        """
        async with self._told(context):
            self._gateway.authenticate(_metadata(context, "authorization"))
            async for request in requests:
                try:
                    await self._stream(request, context)
                except OwnerRefused as error:
                    await context.write(pb.ModelStreamInferResponse(error_message=error.message))
                except CallError as error:
                    self._operations.meters.errors[error.counted_code] += 1
                    await context.write(pb.ModelStreamInferResponse(error_message=error.message))

    async def _stream(self, message: Any, context: Any) -> None:
        with self._running():
            grant = self._gateway.authenticate(_metadata(context, "authorization"))
            model = self._route(message).model
            call = msgspec.structs.replace(self._call(model, message, context), stream=True)
            client = _Stream(context)
            if self._forwarder is not None:
                sent = _sent(call, context)
                path = _path(call)
                found = await self._forwarder.streamed(call.model, path, sent, call.payload, client)
                if found is not None:
                    status, body = found
                    if status != OK:
                        raise OwnerRefused(status, _message(body))
                    return
            await self._gateway.serve(grant, call, client)

    async def _infer(self, message: Any, context: Any) -> tuple[Any, Headers]:
        with self._running():
            grant = self._gateway.authenticate(_metadata(context, "authorization"))
            model = self._route(message).model
            call = self._call(model, message, context)
            headers, body = await self._forwarded(call, context) or (None, b"")
            if headers is None:
                client = _Answer()
                await self._gateway.serve(grant, call, client)
                headers, body = dict(client.headers), client.body
        declared = headers.pop(HEADER_LENGTH, None)
        length = None if declared is None else int(declared)
        metadata = [
            (n, v) for n, v in headers.items() if n.startswith("x-") or n == "server-timing"
        ]
        return oip.response_to_grpc(body, length, call.model), metadata

    @contextlib.contextmanager
    def _running(self) -> Generator[None]:
        """Count a call while it runs. Raises ``RouterBusy``."""
        if self._operations.running >= self._limits.calls_max:
            raise RouterBusy("too many calls are running here, try again", retry_after_s=1)
        self._operations.begin()
        try:
            yield
        finally:
            self._operations.end()

    async def _forwarded(
        self, call: InferenceRequest, context: Any
    ) -> tuple[dict[str, str], bytes] | None:
        if self._forwarder is None:
            return None
        sent = _sent(call, context)
        found = await self._forwarder.fetched(call.model, _path(call), sent, call.payload)
        if found is None:
            return None
        status, headers, body = found
        if status != OK:
            raise OwnerRefused(status, _message(body))
        return {n.decode("latin-1"): v.decode("latin-1") for n, v in headers.items()}, body

    def _call(self, model: Model, message: Any, context: Any) -> InferenceRequest:
        try:
            body, header_length = oip.request_to_rest(message)
        except oip.TensorsInvalid as error:
            raise RequestInvalid(str(error), param="inputs") from None
        request_id, arrived_s, created_at_ms = self._new_call()
        call = oip_http.parse_infer(
            model,
            body,
            {
                oip_http.HEADER_LENGTH: str(header_length).encode(),
                b"content-type": CONTENT_TYPE.encode(),
            },
            request_id=request_id,
            explain=False,
            arrived_s=arrived_s,
            created_at_ms=created_at_ms,
        )
        call = traced(call, _metadata(context, "traceparent"), self._trace_share)
        remaining_s: float | None = context.time_remaining()
        if remaining_s is None:
            return call
        wishes = msgspec.structs.replace(call.wishes, deadline_ms=max(int(remaining_s * 1e3), 1))
        return msgspec.structs.replace(call, wishes=wishes)

    def _route(self, message: Any, grant: Grant = NOBODY) -> Any:
        if isinstance(message, pb.ModelInferRequest):
            name, version = message.model_name, message.model_version
        else:
            name, version = message.name, message.version
        path = oip_http.ModelPath(name, version, "")
        return oip_http.find_route(self._gateway.table, path, grant)

    @contextlib.asynccontextmanager
    async def _told(self, context: Any) -> AsyncGenerator[None]:
        """Turns errors into statuses; other facts for the client go into trailing metadata."""
        try:
            yield
        except OwnerRefused as error:
            await context.abort(_code(error.status), error.message)
        except CallError as error:
            self._operations.meters.errors[error.counted_code] += 1
            headers = [(n, v) for n, v in error_headers(error) if n != "content-type"]
            await context.abort(_code(error.status), error.message, tuple(headers))
        except grpc.aio.AbortError:
            raise
        except Exception:
            log.exception("a gRPC call failed by a fault of the router")
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")


class GRPCServer:
    """Listens alongside the HTTP server, in the same event loop."""

    def __init__(self, service: InferenceService, limits: Limits, *, shares: bool = False) -> None:
        """It may share its port with other processes, as ``HTTPServer`` does."""
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=limits.calls_max,
            options=[
                ("grpc.max_receive_message_length", limits.body_bytes_max),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", limits.header_bytes_max),
                ("grpc.so_reuseport", int(shares)),
                *oip.flow_control(limits.grpc_ahead_bytes),
            ],
        )
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(service, self._server)

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept calls."""
        self._server.add_insecure_port(host_and_port(host, port))
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls and let the running ones finish."""
        await self._server.stop(grace_s)


def _told_by(data: bytes) -> Any:
    """The gRPC message for an event's data: an answer, or an error object."""
    if data.startswith(b"{"):
        failure = decode_completion(data).error or Failure()
        return pb.ModelStreamInferResponse(error_message=failure.message)
    return pb.ModelStreamInferResponse(infer_response=oip.message_of(data))


def _path(call: InferenceRequest) -> str:
    return f"/v2/models/{call.model}/infer"


def _sent(call: InferenceRequest, context: Any) -> Headers:
    """The headers of a call that goes to the router that owns its model."""
    sent = [("authorization", _metadata(context, "authorization")), *call.payload_headers]
    if traceparent := _metadata(context, "traceparent"):
        sent.append(("traceparent", traceparent))
    return sent


def _code(status: int) -> grpc.StatusCode:
    return CODES.get(status, grpc.StatusCode.INTERNAL)


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except UNREADABLE:
        return "the router that owns this model refused the call"


def _metadata(context: Any, wanted: str) -> str:
    """The client's metadata of this name, or ""."""
    for name, value in context.invocation_metadata() or ():
        if name == wanted:
            return value if isinstance(value, str) else ""
    return ""
