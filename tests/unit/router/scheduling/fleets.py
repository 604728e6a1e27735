"""Small fleets for scheduler tests."""

from router.domain.catalog import Deployment, Endpoint, Pool, Worker
from router.domain.pricing import Price
from router.scheduling.decisions import Dispatch
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket

POOL = Pool("pool", "cpu")


def endpoint(name: str, *, slots: int = 1, service_ms: float = 100.0) -> Endpoint:
    """One deployment on one worker of the same name."""
    worker = Worker(name, POOL.name, f"http://{name}", "openai", slots)
    deployment = Deployment(1, "m", "p", 1, POOL.name, "m", Price(1), service_prior_ms=service_ms)
    return Endpoint(name, deployment, worker, POOL)


def scheduler(*endpoints: Endpoint, queue_max: int = 100) -> Scheduler:
    made = Scheduler(queue_max=queue_max)
    made.apply(endpoints, 0.0)
    return made


def ticket(
    name: str,
    *candidates: str,
    now_s: float = 0.0,
    policy: str = "late_binding",
    patience_s: float = 1e9,
    excluded: frozenset[str] = frozenset(),
) -> Ticket:
    return Ticket(
        id=name,
        candidates=candidates,
        policy=policy,
        work=1.0,
        arrived_s=now_s,
        expires_s=now_s + patience_s,
        excluded=excluded,
    )


def dispatched(decisions: list[object]) -> list[str]:
    """The workers that tickets were sent to, in order."""
    return [d.attempt.endpoint.worker.id for d in decisions if isinstance(d, Dispatch)]
