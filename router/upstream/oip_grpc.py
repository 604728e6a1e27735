"""Open Inference Protocol v2 workers over gRPC (Triton): the calls of REST workers in protobuf."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import lru_cache
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2_grpc

from router.contracts import oip
from router.domain.addresses import AddressPolicy, host_and_port
from router.domain.catalog import Endpoint
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.connection import Origin
from router.upstream.http import FULL, TARGETS_MAX
from router.upstream.names import Names
from router.upstream.oip_http import HEADER_LENGTH, TRACEPARENT

SCHEME = "grpc"
END: Any = grpc.aio.EOF
FAILED_ENDS_S = 1.0
"""How long a stream goes on after its model has failed.

The model still reports that it is done. Triton may crash if that report comes after the stream was
closed, and always may if it is set to close streams itself (``triton_grpc_error``).
"""

FORMER_S = 600.0
"""How long calls go on that a worker has begun at an address which its name has no more."""

REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
NO_FAULT = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class GRPCTransport:
    """Carries bodies in the REST shape to workers that speak gRPC. One channel per worker."""

    def __init__(self, limits: Limits, policy: AddressPolicy) -> None:
        self._limits = limits
        self._names = Names({SCHEME: policy}, within_s=limits.connect_timeout_s)
        self._channels: dict[str, tuple[str, grpc.aio.Channel]] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._decoupled: set[tuple[str, str]] = set()

    async def infer(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> tuple[dict[bytes, bytes], bytes]:
        message, wants_binary = _request(endpoint, headers, body)
        try:
            answer = await self._called(endpoint.worker.url, message, _metadata(headers))
        except grpc.aio.AioRpcError as error:
            raise self._failed(endpoint.worker.url, error) from error
        try:
            rest_body, header_length = oip.response_to_rest(answer, wants_binary)
        except (oip.TensorsInvalid, UnicodeDecodeError) as error:
            raise UpstreamFailed("bad_tensors", str(error)) from error
        if header_length is None:
            return {b"content-type": b"application/json"}, rest_body
        return {
            b"content-type": b"application/octet-stream",
            HEADER_LENGTH: str(header_length).encode(),
        }, rest_body

    async def stream(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> AsyncGenerator[Any, None]:
        """See :class:`router.upstream.oip_http.Transport`.

        Workers of decoupled models say so when they get a plain call.
        """
        message, _ = _request(endpoint, headers, body)
        url, metadata = endpoint.worker.url, _metadata(headers)
        place = (url, endpoint.deployment.upstream_model)
        if place not in self._decoupled:
            try:
                answer = await self._called(url, message, metadata)
            except grpc.aio.AioRpcError as error:
                if not _is_decoupled(error):
                    raise self._failed(url, error) from error
                self._decoupled.add(place)
            else:
                answer.parameters[oip.FINAL].bool_param = True
                yield answer
                return
        async with aclosing(self._streamed(url, message, metadata)) as answers:
            async for answer in answers:
                yield answer

    async def close(self) -> None:
        """Close every channel."""
        self._names.close()
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*(channel.close() for _, channel in self._channels.values()))
        self._channels.clear()

    async def _called(self, url: str, message: Any, metadata: tuple[tuple[str, str], ...]) -> Any:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(await self._channel(url))
        return await stub.ModelInfer(
            message, timeout=self._limits.silence_timeout_s, metadata=metadata
        )

    async def _streamed(
        self, url: str, message: Any, metadata: tuple[tuple[str, str], ...]
    ) -> AsyncGenerator[Any, None]:
        """The answers to one request, on its own stream that ends with them."""
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(await self._channel(url))
        call: Any = stub.ModelStreamInfer(metadata=metadata)
        begun = False
        try:
            async with asyncio.timeout(self._limits.silence_timeout_s):
                await call.write(message)
                await call.done_writing()
            while True:
                async with asyncio.timeout(self._limits.silence_timeout_s):
                    response = await call.read()
                if response is END:
                    return
                if response.error_message:
                    await _run_out(call)
                    raise _ended(_told(response.error_message), begun)
                begun = True
                yield response.infer_response
        except grpc.aio.AioRpcError as error:
            raise _ended(self._failed(url, error), begun) from error
        except TimeoutError as error:
            raise UpstreamFailed("timeout") from error
        finally:
            call.cancel()

    async def _channel(self, url: str) -> grpc.aio.Channel:
        """A channel to a checked address, not to what the name may mean later."""
        origin = _origin(url)
        try:
            addresses = await self._names.of(origin)
        except OSError as error:
            raise UpstreamFailed("connect", type(error).__name__) from error
        kept = self._channels.get(url)
        if kept is not None:
            if kept[0] in addresses:
                return kept[1]
            self._leave(kept[1])
        address, port = addresses[0], origin[2]
        channel = grpc.aio.insecure_channel(
            host_and_port(address, port),
            options=[
                ("grpc.max_receive_message_length", self._limits.answer_bytes_max),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_retries", 0),
                *oip.flow_control(self._limits.grpc_ahead_bytes),
            ],
        )
        self._channels[url] = address, channel
        return channel

    def _leave(self, channel: grpc.aio.Channel) -> None:
        """Close a channel once its calls have ended."""
        closing = asyncio.ensure_future(channel.close(FORMER_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _failed(self, url: str, error: grpc.aio.AioRpcError) -> UpstreamFailed | UpstreamRefused:
        """What a status means for the call; the worker may be at another address now."""
        failure = _failure(error)
        if isinstance(failure, UpstreamFailed) and failure.reason == "connect":
            self._names.doubt(_origin(url))
        return failure


@lru_cache(TARGETS_MAX)
def _origin(url: str) -> Origin:
    """The parts of a URL. Raises ``UpstreamFailed``."""
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    if scheme != SCHEME or not port.isdecimal():
        raise UpstreamFailed("bad_url", "a gRPC worker's URL is grpc://host:port")
    return SCHEME, host.strip("[]"), int(port)


def _request(
    endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
) -> tuple[Any, Callable[[str], bool]]:
    """The ``ModelInferRequest`` of a REST body, and which outputs the body wants in binary."""
    declared = next((v for n, v in headers if n.lower().encode() == HEADER_LENGTH), None)
    length = None if declared is None else int(declared)
    try:
        wants_binary = oip.binary_wanted(body, length)
        message = oip.request_to_grpc(body, length, endpoint.deployment.upstream_model)
    except oip.MISSHAPEN as error:
        raise UpstreamRefused(422, f"the tensors cannot be read: {error}") from error
    return message, wants_binary


def _metadata(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(header for header in headers if header[0] == TRACEPARENT)


async def _run_out(call: Any) -> None:
    """Read a stream to its end and ignore what it brings."""
    with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(FAILED_ENDS_S):
            while await call.read() is not END:
                pass


def _told(message: str) -> UpstreamFailed | UpstreamRefused:
    """What an error without a status means for the call."""
    if FULL in message:
        return UpstreamFailed("grpc_unavailable", message, is_fault=False)
    return UpstreamRefused(422, message)


def _is_decoupled(error: grpc.aio.AioRpcError) -> bool:
    """Whether a worker refuses the plain call because its model may answer more than once."""
    unimplemented = error.code() is grpc.StatusCode.UNIMPLEMENTED
    return unimplemented and "decoupled" in (error.details() or "")


def _ended(
    error: UpstreamFailed | UpstreamRefused, begun: bool
) -> UpstreamFailed | UpstreamRefused:
    """After the first answer a refusal is a failure."""
    if begun and isinstance(error, UpstreamRefused):
        return UpstreamFailed("error_event", error.message)
    return error


def _failure(error: grpc.aio.AioRpcError) -> UpstreamFailed | UpstreamRefused:
    """What a status of gRPC means for the call."""
    code, details = error.code(), error.details() or ""
    if code in REFUSALS or _is_decoupled(error):
        return UpstreamRefused(422, details or "the model refused the request")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UpstreamFailed("timeout")
    if code is grpc.StatusCode.UNAVAILABLE:
        return _told(details) if FULL in details else UpstreamFailed("connect")
    reason = f"grpc_{code.name.lower()}"
    return UpstreamFailed(reason, is_fault=code not in NO_FAULT)
