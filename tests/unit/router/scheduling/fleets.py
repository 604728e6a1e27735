"""Small fleets for scheduler tests."""

import random
from collections.abc import Mapping
from math import inf
from typing import Any

from router.domain.catalog import Deployment, Endpoint, EngineCurve, Policy, Pool, Worker
from router.domain.pricing import Price
from router.scheduling.decisions import Decision, Dispatch, Probe
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import NO_TERMS, Ticket

POOL = Pool("pool", "cpu")


def endpoint(
    name: str,
    *,
    slots: int = 1,
    service_ms: float = 100.0,
    batch_curve: tuple[tuple[int, float], ...] = (),
    engine_prior: EngineCurve | None = None,
    deployment: int = 0,
    rtt_ms: float = 1.0,
) -> Endpoint:
    """A worker with its own deployment, unless workers are given the same one."""
    worker = Worker(name, POOL.name, f"http://{name}", "openai", slots, rtt_ms=rtt_ms)
    offered = Deployment(
        deployment or sum(name.encode()),
        "m",
        "p",
        1,
        POOL.name,
        "m",
        Price(1),
        service_prior_ms=service_ms,
        batch_curve=batch_curve,
        engine_prior=engine_prior,
    )
    return Endpoint(name, offered, worker, POOL)


def scheduler(*endpoints: Endpoint, queue_max: int = 100, seed: int = 1) -> Scheduler:
    made = Scheduler(queue_max=queue_max, random=random.Random(seed).random)
    made.apply(endpoints, 0.0)
    return made


def ticket(
    name: str,
    *candidates: str,
    now_s: float = 0.0,
    policy: str = "late_binding",
    patience_s: float = 1e9,
    deadline_s: float = inf,
    hedge_share: float = 0.05,
    penalty_s: Mapping[str, float] = NO_TERMS,
    cost_nano: Mapping[str, float] = NO_TERMS,
    **more: Any,
) -> Ticket:
    return Ticket(
        id=name,
        candidates=candidates,
        policy=Policy(1, 1, "m", kind=policy, hedge_share=hedge_share),
        arrived_s=now_s,
        expires_s=now_s + patience_s,
        deadline_s=deadline_s,
        penalty_s=penalty_s,
        cost_nano=cost_nano,
        **more,
    )


def place(made: Scheduler, name: str, *candidates: str, now_s: float = 0.0, **more: Any) -> Attempt:
    """Arrive and be dispatched at once."""
    (decision,) = made.arrive(ticket(name, *candidates, now_s=now_s, **more), now_s)
    assert isinstance(decision, Dispatch)
    return decision.attempt


def dispatched(decisions: list[Decision]) -> list[str]:
    """The workers that tickets were sent to, in order."""
    return [d.attempt.endpoint.worker.id for d in decisions if isinstance(d, Dispatch)]


def probes(decisions: list[Decision]) -> list[Attempt]:
    return [d.attempt for d in decisions if isinstance(d, Probe)]
