"""What the router is doing now, for people and for probes."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from router.pipeline.gateway import Gateway
from router.scheduling.scheduler import Scheduler

_encode = msgspec.json.Encoder().encode


def router_state(
    gateway: Gateway, scheduler: Scheduler, unsettled: int, routers: Iterable[str]
) -> bytes:
    """Snapshot version, queue, and every worker with its endpoints' learned speed.

    ``slots`` are those that this router may use; ``size_log_error`` says how well the sizes of a
    model's requests are predicted (null before any).
    """
    now_s = time.monotonic()
    endpoints: dict[str, list[dict[str, Any]]] = {}
    for state in scheduler.fleet.endpoints.values():
        endpoints.setdefault(state.worker.id, []).append(
            {
                "id": state.endpoint.id,
                "model": state.endpoint.deployment.model,
                "pool": state.endpoint.pool.name,
                "emulated": state.endpoint.pool.emulated,
                "service_ms": state.estimate.seconds * 1e3,
                "samples": state.estimate.samples,
            }
        )
    workers = [
        {
            "id": worker.id,
            "slots": worker.slots,
            "limit": worker.limit,
            "in_flight": len(worker.inflight),
            "ejected_s": max(0.0, worker.ejection.until_s - now_s),
            "consecutive_failures": worker.ejection.consecutive_failures,
            "endpoints": endpoints.get(worker.id, []),
        }
        for worker in scheduler.fleet.workers.values()
    ]
    body = {
        "snapshot_version": gateway.table.version,
        "waiting": scheduler.waiting,
        "unsettled": unsettled,
        "routers": list(routers),
        "size_log_error": {
            model: scheduler.sizes.log_error(model) for model in gateway.table.routes
        },
        "workers": workers,
    }
    return _encode(body)
