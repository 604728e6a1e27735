"""What the router is doing now, for people and for probes."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from router.domain.outcome import Outcome
from router.pipeline.gateway import Gateway
from router.pipeline.meters import Meters
from router.scheduling.scheduler import Scheduler

NOT_FAILED = {Outcome.COMPLETED.value, Outcome.CLIENT_GONE.value, Outcome.REFUSED.value}
"""Who left, and who asked wrongly, was not failed by the router or a worker."""

_encode = msgspec.json.Encoder().encode


def router_state(
    gateway: Gateway,
    scheduler: Scheduler,
    meters: Meters,
    *,
    router_id: str,
    draining: bool,
    unsettled: int,
    routers: Iterable[str],
) -> bytes:
    """Snapshot version, queues, counts, and every worker with its endpoints' learned speed.

    ``models`` has, of each that is routed, how many calls wait, and how many have ended and failed
    since the router's start: who asks twice has the rate.

    ``slots`` are those that this router may use; ``size_log_error`` says how well the sizes of a
    model's requests are predicted (null before any).
    """
    now_s = time.monotonic()
    running = Counter(
        attempt.endpoint.id
        for worker in scheduler.fleet.workers.values()
        for attempt in worker.inflight.values()
    )
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
                "in_flight": running[state.id],
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
    waiting = scheduler.waiting_by_model
    body = {
        "router_id": router_id,
        "snapshot_version": gateway.table.version,
        "draining": draining,
        "waiting": scheduler.waiting,
        "unsettled": unsettled,
        "routers": list(routers),
        "size_log_error": {
            model: scheduler.sizes.log_error(model) for model in gateway.table.routes
        },
        "models": {
            model: {"waiting": waiting.get(model, 0), **_ended(meters, model)}
            for model in gateway.table.routes
        },
        "workers": workers,
    }
    return _encode(body)


def _ended(meters: Meters, model: str) -> dict[str, int]:
    counted = meters.models.get(model)
    calls = counted.calls if counted is not None else {}
    failed = (count for (_, outcome, _), count in calls.items() if outcome not in NOT_FAILED)
    return {"ended": sum(calls.values()), "failed": sum(failed)}
