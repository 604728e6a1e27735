"""Open Inference Protocol v2 workers over gRPC (Triton): what REST ones are told, in protobuf."""

import asyncio
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2_grpc

from router.contracts import oip
from router.domain.addresses import AddressPolicy
from router.domain.catalog import Endpoint
from router.ports import UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.http import resolve_allowed
from router.upstream.oip_http import HEADER_LENGTH, TRACEPARENT

SCHEME = "grpc://"
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
    """Carries bodies in the REST shape to workers that speak gRPC. One channel a worker."""

    def __init__(self, limits: Limits, policy: AddressPolicy) -> None:
        self._limits = limits
        self._policy = policy
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def infer(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> tuple[dict[bytes, bytes], bytes]:
        """See :class:`router.upstream.oip_http.Transport`."""
        declared = next((v for n, v in headers if n.lower().encode() == HEADER_LENGTH), None)
        length = None if declared is None else int(declared)
        try:
            wants_binary = oip.binary_wanted(body, length)
            message = oip.request_to_grpc(body, length, endpoint.deployment.upstream_model)
        except (oip.TensorsInvalid, KeyError, TypeError) as error:
            raise UpstreamRefused(422, f"the tensors cannot be read: {error}") from error
        metadata = tuple(header for header in headers if header[0] == TRACEPARENT)
        answer = await self._called(endpoint.worker.url, message, metadata)
        try:
            told, header_length = oip.response_to_rest(answer, wants_binary)
        except (oip.TensorsInvalid, UnicodeDecodeError) as error:
            raise UpstreamFailed("bad_tensors", str(error)) from error
        if header_length is None:
            return {b"content-type": b"application/json"}, told
        return {
            b"content-type": b"application/octet-stream",
            HEADER_LENGTH: str(header_length).encode(),
        }, told

    async def close(self) -> None:
        """End every channel."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        self._channels.clear()

    async def _called(self, url: str, message: Any, metadata: tuple[tuple[str, str], ...]) -> Any:
        channel = await self._channel(url)
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            return await stub.ModelInfer(
                message, timeout=self._limits.silence_timeout_s, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error

    async def _channel(self, url: str) -> grpc.aio.Channel:
        """A channel to the address that was checked, not to whatever the name means later."""
        if url not in self._channels:
            if not url.startswith(SCHEME):
                raise UpstreamFailed("bad_url", "a gRPC worker's URL is grpc://host:port")
            host, _, port = url.removeprefix(SCHEME).rpartition(":")
            addresses = await resolve_allowed(self._policy, host.strip("[]"), int(port))
            address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
            bound = self._limits.answer_bytes_max
            self._channels[url] = grpc.aio.insecure_channel(
                f"{address}:{port}",
                options=[
                    ("grpc.max_receive_message_length", bound),
                    ("grpc.max_send_message_length", -1),
                    ("grpc.enable_retries", 0),
                ],
            )
        return self._channels[url]


def _failure(error: grpc.aio.AioRpcError) -> UpstreamFailed | UpstreamRefused:
    """What a status of gRPC means for the call."""
    code, details = error.code(), error.details() or ""
    if code in REFUSALS:
        return UpstreamRefused(422, details or "the model refused the request")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UpstreamFailed("timeout")
    if code is grpc.StatusCode.UNAVAILABLE:
        return UpstreamFailed("connect")
    reason = f"grpc_{code.name.lower()}"
    return UpstreamFailed(reason, is_fault=code not in NO_FAULT)
