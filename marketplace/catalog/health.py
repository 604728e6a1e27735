"""Ask workers whether they are ready."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol as Shape
from urllib.parse import urlsplit

import grpc.aio
import httpx
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from marketplace.catalog.addresses import (
    GRPC_BOUNDS,
    AddressRefused,
    PinnedTransport,
    address_policy,
    grpc_target,
)
from marketplace.catalog.models import Protocol, Server
from marketplace.catalog.services import HealthReading

TIMEOUT_S = 2.0
ANSWER_S_MAX = 3 * TIMEOUT_S
"""What one path may take in all: a server that sends a byte a second is never silent."""
CONCURRENCY_MAX = 32
ERROR_MAX = 200
READY_PATHS = {Protocol.OPENAI: ("/health", "/v1/models"), Protocol.OIP: ("/v2/health/ready",)}
"""Tried in order: not every OpenAI-compatible server has ``/health``."""


class Asked(Shape):
    """A server that is asked, and how it is spoken to."""

    pk: int
    url: str
    protocol: str


async def probe(
    workers: Sequence[Asked],
    transport: httpx.AsyncBaseTransport | None = None,
    is_ready: Callable[[int], bool] = httpx.codes.is_success,
) -> list[HealthReading]:
    """One reading for each worker, in order; takes ``ANSWER_S_MAX`` a path at worst.

    Providers choose their workers' URLs, so only addresses that routers may call are called.
    Whatever one worker is or answers, the others are asked.
    ``is_ready`` says what an HTTP status means.
    """
    transport = transport or PinnedTransport(address_policy())
    slots = asyncio.Semaphore(CONCURRENCY_MAX)
    # trust_env=False: no proxy of the environment between us and our own workers.
    async with (
        httpx.AsyncClient(timeout=TIMEOUT_S, transport=transport, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        probes = [
            group.create_task(_probe_one(client, slots, worker, is_ready)) for worker in workers
        ]
    return [probe.result() for probe in probes]


def readings_that_count(
    workers: Sequence[Server], readings: Sequence[HealthReading]
) -> list[HealthReading]:
    """All, unless no worker of several hosts was reached or heard: then it is we who are cut off.

    Nothing follows then for those that are taken to be well; routers go by what they see
    themselves. A reading may be of silence: when we are cut off, some are silent before others.
    """
    hosts = {_host_of(worker.url) for worker in workers}
    if len(hosts) < 2 or any(reading.reached for reading in readings):
        return list(readings)
    well = {worker.pk for worker in workers if worker.healthy and worker.health_checked_at}
    return [reading for reading in readings if reading.worker_pk not in well]


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return url


async def _probe_one(
    client: httpx.AsyncClient,
    slots: asyncio.Semaphore,
    worker: Asked,
    is_ready: Callable[[int], bool],
) -> HealthReading:
    async with slots:
        try:
            if worker.protocol == Protocol.OIP_GRPC:
                return await _grpc_reading(worker)
            return await _http_reading(client, worker, is_ready)
        except Exception as refused:  # noqa: BLE001 # of this worker alone
            said = f"{type(refused).__name__}: {refused}".strip(": ")
            return HealthReading(worker.pk, said[:ERROR_MAX], reached=False)


async def _http_reading(
    client: httpx.AsyncClient, worker: Asked, is_ready: Callable[[int], bool]
) -> HealthReading:
    error = ""
    for path in READY_PATHS[Protocol(worker.protocol)]:
        status = await _status(client, worker.url.rstrip("/") + path)
        if is_ready(status):
            return HealthReading(worker.pk)
        error = f"GET {path}: HTTP {status}"
        if status != httpx.codes.NOT_FOUND:
            break
    return HealthReading(worker.pk, error)


async def _status(client: httpx.AsyncClient, url: str) -> int:
    """The status of an answer whose body nobody reads: it may have no end."""
    async with asyncio.timeout(ANSWER_S_MAX), client.stream("GET", url) as answer:
        return answer.status_code


async def _grpc_reading(worker: Asked) -> HealthReading:
    try:
        target = await grpc_target(worker.url, address_policy())
        async with InferenceServerClient(target, channel_args=GRPC_BOUNDS) as client:
            ready = await client.is_server_ready(client_timeout=TIMEOUT_S)
    except (AddressRefused, InferenceServerException, grpc.aio.AioRpcError) as refused:
        return HealthReading(worker.pk, f"gRPC: {refused}"[:ERROR_MAX], reached=False)
    return HealthReading(worker.pk, "" if ready else "gRPC: the server is not ready")
