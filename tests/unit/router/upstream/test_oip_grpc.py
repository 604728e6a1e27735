"""gRPC workers, as real servers: where their names lead, and what they say when they are full."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.ports.upstream import UpstreamFailed
from router.settings import Limits
from router.upstream.oip_grpc import GRPCTransport
from tests.patience import PATIENCE_S
from tests.unit.router.upstream.workers import endpoint

pb: Any = service_pb2
pb_grpc: Any = service_pb2_grpc

LIMITS = Limits(connect_timeout_s=30)
BODY = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1],"data":[1]}]}'

Script = Callable[[Any], Awaitable[None]]


class Tensors(pb_grpc.GRPCInferenceServiceServicer):
    """A worker that does what its script says before it answers."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked = asyncio.Event()

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self.asked.set()
        await self.script(context)
        return pb.ModelInferResponse(model_name=request.model_name)


async def answering(context: Any) -> None:
    pass


async def full(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "[x] Exceeds maximum queue size")


async def stopping(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "Server is stopping")


@contextlib.asynccontextmanager
async def working(script: Script, place: str = "127.0.0.1:0") -> AsyncIterator[tuple[Tensors, int]]:
    """A worker and its port."""
    worker, server = Tensors(script), grpc.aio.server()
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(worker, server)
    port = server.add_insecure_port(place)
    await server.start()
    try:
        yield worker, port
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def transporting() -> AsyncIterator[GRPCTransport]:
    made = GRPCTransport(LIMITS, AddressPolicy(EVERYWHERE))
    try:
        yield made
    finally:
        await made.close()


class Moving:
    """A name that means ``address``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.address = "127.0.0.1"
        self.asked = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[object]:
        self.asked += 1
        return [(2, 1, 6, "", (self.address, port))]


async def infer(transport: GRPCTransport, port: int) -> bytes:
    place = endpoint(f"grpc://worker.example:{port}", protocol="oip_grpc")
    return (await transport.infer(place, (), BODY))[1]


async def test_a_worker_that_comes_back_at_another_address_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = Moving(monkeypatch)
    async with working(answering, "127.0.0.2:0") as (_, port), transporting() as transport:
        with pytest.raises(UpstreamFailed, match="connect"):
            await infer(transport, port)
        name.address = "127.0.0.2"
        assert b"a/m" in await infer(transport, port)
        assert b"a/m" in await infer(transport, port)
    assert name.asked == 2


async def test_tensors_follow_the_name_and_calls_under_way_end_where_they_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.upstream.names.RESOLVED_S", 0.0)
    may_end = asyncio.Event()

    async def slow(context: Any) -> None:
        await may_end.wait()

    name = Moving(monkeypatch)
    async with (
        working(slow) as (former, port),
        working(answering, f"127.0.0.2:{port}") as (latter, _),
        transporting() as transport,
    ):
        begun = asyncio.ensure_future(infer(transport, port))
        await asyncio.wait_for(former.asked.wait(), PATIENCE_S)
        name.address = "127.0.0.2"
        assert b"a/m" in await infer(transport, port)
        assert latter.asked.is_set()
        assert not begun.done()
        may_end.set()
        assert b"a/m" in await begun


@pytest.mark.parametrize(
    ("script", "reason", "is_fault", "look_ups"),
    [(full, "grpc_unavailable", False, 1), (stopping, "connect", True, 2)],
)
async def test_a_full_worker_is_neither_at_fault_nor_gone(
    monkeypatch: pytest.MonkeyPatch, script: Script, reason: str, is_fault: bool, look_ups: int
) -> None:
    name = Moving(monkeypatch)
    async with working(script) as (_, port), transporting() as transport:
        for _ in range(2):
            with pytest.raises(UpstreamFailed) as failed:
                await infer(transport, port)
            assert (failed.value.reason, failed.value.is_fault) == (reason, is_fault)
    assert name.asked == look_ups
