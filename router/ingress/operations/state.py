"""What the router is doing now, for people and for probes."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import structs

from router.domain.outcome import Outcome
from router.pipeline.fleet.engine_polls import EnginePolls
from router.pipeline.gateway import Gateway
from router.pipeline.holds.counting import PROMPT, STREAM, WHOLE, WorkerCounts
from router.pipeline.recorders.meters import Meters
from router.scheduling.fleet.worker import EndpointState, WorkerState
from router.scheduling.scheduler import Scheduler
from router.scheduling.worker_models.batch import Batch
from router.scheduling.worker_models.engine import Engine
from router.scheduling.worker_models.engines import EngineEndpoint, EngineRun, EngineWorker

NOT_FAILED = {Outcome.COMPLETED.value, Outcome.CLIENT_GONE.value, Outcome.REFUSED.value}
"""Neither the router nor a worker failed these calls: the client left or sent a bad request."""

COUNTED_WAYS = (PROMPT, STREAM, WHOLE)

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
    polls: EnginePolls,
) -> bytes:
    """Snapshot version and age, queues, counts, every worker with its endpoints' learned speed.

    ``models`` says for each routed model how many calls wait, and how many ended and failed since
    the router's start; two readings give a rate. ``slots`` are those that this router may use.
    ``size_log_error`` is the error of predicted request sizes of a model (null before any).
    ``engine`` is set for a worker that batches generations: what is in its batch, and by endpoint
    what a typical request is expected to take.
    """
    now_s = time.monotonic()
    scheduler.look(now_s)
    models, waiting = gateway.table.routes, gateway.waiting_by_model
    body = {
        "router_id": router_id,
        "snapshot_version": gateway.table.version,
        "snapshot_age_s": gateway.snapshot_age_s,
        "draining": draining,
        "waiting": gateway.waiting,
        "unsettled": unsettled,
        "routers": list(routers),
        "size_log_error": {model: scheduler.sizes.log_error(model) for model in models},
        "models": {
            model: {"waiting": waiting.get(model, 0), **_ended(meters, model)} for model in models
        },
        "counted": _counted(gateway.counts, scheduler),
        "workers": [
            _worker(worker, scheduler, polls, now_s) for worker in scheduler.fleet.workers.values()
        ],
    }
    return _encode(body)


def _worker(
    worker: WorkerState, scheduler: Scheduler, polls: EnginePolls, now_s: float
) -> dict[str, Any]:
    running = Counter(attempt.endpoint.id for attempt in worker.inflight.values())
    told: dict[str, Any] = {
        "id": worker.id,
        "slots": worker.slots,
        "limit": worker.limit,
        "in_flight": len(worker.inflight),
        "ejected_s": max(0.0, worker.ejection.until_s - now_s),
        "consecutive_failures": worker.ejection.consecutive_failures,
        "endpoints": [_endpoint(state, running[state.id]) for state in worker.endpoints],
    }
    if isinstance(worker.model, EngineWorker):
        told["engine"] = _batch(worker, worker.model.batch, polls)
        told["engine"]["kv_followed"] = scheduler.kv_followed(worker.id)
    return told


def _endpoint(state: EndpointState, in_flight: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": state.endpoint.id,
        "model": state.endpoint.deployment.model,
        "pool": state.endpoint.pool.name,
        "emulated": state.endpoint.pool.emulated,
        "service_ms": state.estimate.seconds * 1e3,
        "samples": state.estimate.samples,
        "in_flight": in_flight,
    }
    model = state.model
    if isinstance(model, EngineEndpoint) and model.engine.speed.first.samples:
        told["engine"] = _expected(model.engine)  # Without samples it would be a guess.
    return told


def _batch(worker: WorkerState, batch: Batch, polls: EnginePolls) -> dict[str, Any]:
    """The part of an engine's batch that is this router's.

    ``context_tokens`` counts prompts, and answers as far as they have come. ``others_running`` is
    the mean number of requests that other routers have there. ``reported`` is what the engine says
    of itself; if it is null, ``report_fault`` says why.
    """
    others = batch.others
    runs = (attempt.run for attempt in worker.inflight.values())
    answered = sum(run.answered_tokens for run in runs if isinstance(run, EngineRun))
    return {
        "decoding": round(batch.decoding - others.decoding),
        "prompts_waiting": len(batch.prefilling),
        "pending_tokens": round(batch.pending_tokens - others.pending_tokens),
        "context_tokens": round(batch.context_tokens - others.context_tokens + answered),
        "others_running": round(others.decoding + others.prefilling, 1),
        "reported": polls.reports.get(worker.id),
        "report_fault": polls.reasons.get(worker.id, ""),
        "has_room": worker.has_room,
        "ramping": worker.bounds.trusted < worker.bounds.slots,
    }


def _expected(engine: Engine) -> dict[str, Any]:
    """``prompt_tokens`` counts the uncached tokens of a typical prompt."""
    costs, prompt_tokens = engine.costs, engine.speed.prompt_tokens
    first_factor, step_factor = engine.factors
    return {
        "prompt_tokens": round(prompt_tokens),
        "first_token_ms": costs.first_token_s(prompt_tokens) * 1e3,
        "token_ms": (costs.step_s + prompt_tokens * costs.context_s) * 1e3,
        "hit_rate": engine.hit_rate,
        "first_factor": first_factor,
        "step_factor": step_factor,
    }


def _counted(counts: WorkerCounts, scheduler: Scheduler) -> list[dict[str, Any]]:
    """How each deployment's workers count, next to the medians of their models."""
    known = {
        state.endpoint.deployment.id: state.endpoint.deployment.model
        for state in scheduler.fleet.endpoints.values()
    }
    return [
        structs.asdict(tally)
        | {f"{way}_median": counts.ratio(known[tally.deployment_id], way) for way in COUNTED_WAYS}
        for tally in counts.tallied(known)
    ]


def _ended(meters: Meters, model: str) -> dict[str, int]:
    counted = meters.models.get(model)
    calls = counted.calls if counted is not None else {}
    failed = (count for (_, outcome, _), count in calls.items() if outcome not in NOT_FAILED)
    return {"ended": sum(calls.values()), "failed": sum(failed)}
