"""What a benchmark ran on: hardware, engine, model version, settings; and one digest of them."""

import asyncio
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from marketplace.catalog.addresses import (
    GRPC_BOUNDS,
    AddressRefused,
    PinnedTransport,
    address_policy,
    grpc_target,
)
from marketplace.catalog.models import Deployment, Protocol, Worker
from marketplace.shared.texts import unkept_in
from router.contracts.wire import UNREADABLE

TIMEOUT_S = 2.0
ANSWER_S_MAX = 3 * TIMEOUT_S
"""What one answer may take in all: a server that sends a byte a second is never silent."""
ANSWER_BYTES_MAX = 4 * 1024 * 1024
DIGEST_CHARACTERS = 16
VALUE_CHARACTERS = 200
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
NOT_OF_IT = {"workers", "digest"}
"""Not part of the digest: which workers were asked, and the digest itself."""


def fingerprint(deployment: Deployment, workers: Sequence[Worker]) -> dict[str, Any]:
    """What these workers of a deployment are: what they and the catalog say.

    ``digest`` changes with anything that may change the speed. The processor is known only of
    workers on this machine.
    """
    pool = deployment.pool
    found: dict[str, Any] = {
        "hardware": pool.hardware,
        "engine": pool.engine,
        "region": pool.region,
        "emulated": pool.emulated,
        "model": deployment.version.model.name,
        "version": deployment.version.version,
        "upstream_model": deployment.upstream_model,
        "quantization": deployment.quantization,
        "protocols": sorted({worker.protocol for worker in workers}),
        "slots": sorted({worker.slots for worker in workers}),
        "asked": asyncio.run(_asked(workers[0], deployment.upstream_model)) if workers else {},
        "workers": [worker.worker_id for worker in workers],
    }
    if workers and not pool.emulated and urlsplit(workers[0].url).hostname in LOOPBACK:
        found["host"] = host()
    return {**found, "digest": digest(found)}


def digest(found: dict[str, Any]) -> str:
    """The same for the same findings, whatever their order."""
    kept = {name: value for name, value in found.items() if name not in NOT_OF_IT}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]


def host() -> dict[str, Any]:
    """The processor of the machine that runs this, and how many of its cores may be used."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
    }


def load_per_core() -> float:
    """How many processes of this machine want each core, over the last minute; 0 if unknown."""
    try:
        return round(os.getloadavg()[0] / len(os.sched_getaffinity(0)), 2)
    except OSError:
        return 0.0


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


async def _asked(worker: Worker, model: str) -> dict[str, Any]:
    """What the engine reports about itself; {} if it reports nothing, or may not be asked."""
    url = worker.url.rstrip("/")
    if worker.protocol == Protocol.OIP_GRPC:
        return await _asked_over_grpc(url)
    transport = PinnedTransport(address_policy())
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, transport=transport) as client:
        if worker.protocol == Protocol.OIP:
            return await _triton(client, model)
        return await _openai(client, model)


async def _triton(client: httpx.AsyncClient, model: str) -> dict[str, Any]:
    server = await _get(client, "/v2")
    config = await _get(client, f"/v2/models/{model}/config")
    found = {name: str(server[name]) for name in ("name", "version") if server.get(name)}
    if config:
        # A Triton's speed depends on its instances and on its batching.
        found["instances"] = str(config.get("instance_group", ""))[:VALUE_CHARACTERS]
        found["batching"] = str(config.get("dynamic_batching", ""))[:VALUE_CHARACTERS]
        found["max_batch_size"] = str(config.get("max_batch_size", ""))
    return found


async def _openai(client: httpx.AsyncClient, model: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    # llama.cpp tells its build and how it runs, vLLM its version.
    props = await _get(client, "/props")
    for name in ("build_info", "total_slots", "model_path"):
        if name in props:
            found[name] = str(props[name])[-VALUE_CHARACTERS:]
    if version := (await _get(client, "/version")).get("version"):
        found["version"] = str(version)
    entries = (await _get(client, "/v1/models")).get("data")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("id") == model:
            found["owned_by"] = str(entry.get("owned_by", ""))
            meta = entry.get("meta")
            if isinstance(meta, dict):
                found |= {name: meta[name] for name in ("n_params", "n_ctx_train") if name in meta}
    return found


async def _get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """The object of a good answer, {} of any other: the server may be anybody's."""
    content = bytearray()
    try:
        # Not unpacked: a few bytes may be packed gigabytes.
        packed = {"accept-encoding": "identity"}
        async with (
            asyncio.timeout(ANSWER_S_MAX),
            client.stream("GET", path, headers=packed) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                return {}
            async for piece in answer.aiter_raw():
                content += piece
                if len(content) > ANSWER_BYTES_MAX:
                    return {}
        body = msgspec.json.decode(content)
    except (*UNREADABLE, httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError):
        return {}
    return body if isinstance(body, dict) and not unkept_in(body) else {}


async def _asked_over_grpc(url: str) -> dict[str, Any]:
    # Half a second of imports, for the few workers that are called over gRPC.
    from tritonclient.grpc.aio import InferenceServerClient  # noqa: PLC0415
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    try:
        target = await grpc_target(url, address_policy())
        async with InferenceServerClient(target, channel_args=GRPC_BOUNDS) as client:
            server = await client.get_server_metadata(as_json=True, client_timeout=TIMEOUT_S)
    except (AddressRefused, InferenceServerException):
        return {}
    return {name: str(server[name]) for name in ("name", "version") if server.get(name)}
