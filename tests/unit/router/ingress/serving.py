"""The real HTTP server on a free port of the loopback."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
from tritonclient.grpc import service_pb2_grpc

from router.adapters.memory import MemoryIdempotencyStore
from router.adapters.memory_responses import MemoryResponseStore
from router.contracts.engines.engine_report import EngineReport
from router.domain.catalog import Worker
from router.domain.ids import uuid7
from router.ingress.account import Account
from router.ingress.api import API
from router.ingress.faces.responses.turns import Turns
from router.ingress.http.http1 import App
from router.ingress.http.http_server import HTTPServer
from router.ingress.idempotency import Idempotency
from router.ingress.oip.oip_grpc import GRPCServer, InferenceService
from router.ingress.operations.operations import Operations
from router.ingress.proxy.forward import Forwarder
from router.ingress.proxy.pass_through import PassThrough
from router.pipeline.fleet.engine_polls import EnginePolls
from router.ports.idempotency import IdempotencyStore
from router.ports.upstream import UpstreamFailed
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.ports import free_ports
from tests.unit.router.pipeline.line import Line

ADMIN_TOKEN = "admin"


@contextlib.asynccontextmanager
async def serving(
    app: App, limits: Limits, *, cors_origins: tuple[str, ...] = ()
) -> AsyncIterator[int]:
    """Serve ``app`` for the time of the block, on the port that is given."""
    (port,) = free_ports(1)
    server = HTTPServer(app, limits, frozenset(cors_origins))
    await server.listen("127.0.0.1", port)
    try:
        yield port
    finally:
        await server.stop_listening()
        server.close()


class Unreachable:
    """Engines that cannot be asked."""

    async def report(self, worker: Worker) -> EngineReport:
        raise UpstreamFailed("connect", worker.id)


def operations_of(line: Line, limits: Limits) -> Operations:
    return Operations(
        line.gateway,
        line.dispatcher,
        line.meters,
        limits=limits,
        router_id="one",
        admin_token=ADMIN_TOKEN,
        unsettled=lambda: 0,
        routers=lambda: (),
        polls=EnginePolls(line.dispatcher, Unreachable(), interval_s=1.0),
    )


def api_of(
    line: Line,
    limits: Limits,
    operations: Operations,
    forwarder: Forwarder | None = None,
    jobs: PassThrough | None = None,
    answers: IdempotencyStore | None = None,
) -> API:
    return API(
        line.gateway,
        operations,
        Account(line.gateway, line.recent, line.ledger, forwarder),
        Idempotency(answers or MemoryIdempotencyStore(time.monotonic), limits),
        Turns(line.gateway, MemoryResponseStore(time.monotonic), limits, jobs),
        line.histories,
        limits=limits,
        forwarder=forwarder,
        jobs=jobs,
    )


@contextlib.asynccontextmanager
async def calling(
    line: Line,
    limits: Limits | None = None,
    cors_origins: tuple[str, ...] = (),
    forwarder: Forwarder | None = None,
    jobs: PassThrough | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole API over a line."""
    limits = limits or Limits()
    api = api_of(line, limits, operations_of(line, limits), forwarder, jobs)
    async with (
        serving(api, limits, cors_origins=cors_origins) as port,
        # Nor are the system's certificates read (20 ms).
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, verify=False
        ) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def calling_grpc(
    line: Line,
    limits: Limits,
    forwarder: Forwarder | None = None,
    operations: Operations | None = None,
) -> AsyncIterator[Any]:
    """A stub of the Open Inference Protocol's service over a line."""
    service = InferenceService(
        line.gateway,
        operations or operations_of(line, limits),
        limits=limits,
        new_call=lambda: (uuid7(0, 0), time.monotonic(), 0),
        forwarder=forwarder,
    )
    (port,) = free_ports(1)
    server = GRPCServer(service, limits)
    await server.listen("127.0.0.1", port)
    stub: Any = service_pb2_grpc.GRPCInferenceServiceStub
    try:
        # What this client takes ahead of its reader would count as kept by the router.
        narrow = [("grpc.http2.bdp_probe", 0)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=narrow) as channel:
            yield stub(channel)
    finally:
        await server.stop(0)
