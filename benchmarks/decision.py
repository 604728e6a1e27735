"""``python -m benchmarks.decision``: what one scheduling decision costs, in microseconds.

A decision is an arrival and a completion through the whole scheduler with the default policy, on
virtual time. Two settings: a small fleet without a queue, and a large one with a deep queue, where
each event looks at every waiting ticket.
"""

import random
import statistics
import sys
import time
from collections import deque

from router.domain.catalog import Deployment, Endpoint, Policy, Pool, Worker
from router.domain.pricing import Price
from router.scheduling.decisions import Dispatch
from router.scheduling.fleet import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket

SLOTS = 4
POLICY = Policy(1, 1, "m")
SERVICE_MS = (40.0, 60.0, 120.0, 400.0)
REPEATS = 5


def main() -> int:
    """Print the median over a few repeats, and their spread."""
    for workers, waiting, decisions in ((12, 0, 5_000), (200, 200, 600)):
        runs = [microseconds(workers, waiting, decisions) for _ in range(REPEATS)]
        print(
            f"{workers:4d} workers, {waiting:4d} waiting: {statistics.median(runs):9.1f} us a "
            f"decision (min {min(runs):.1f}, max {max(runs):.1f}, {REPEATS} runs)"
        )
    return 0


def microseconds(workers: int, waiting: int, decisions: int) -> float:
    """Mean cost of a decision while ``waiting`` tickets stay queued."""
    scheduler = Scheduler(queue_max=10_000, random=random.random)
    endpoints = [_endpoint(i) for i in range(workers)]
    scheduler.apply(endpoints, 0.0)
    names = tuple(endpoint.id for endpoint in endpoints)
    running: deque[Attempt] = deque()
    arrived = 0
    now_s = 0.0

    def arrive() -> None:
        nonlocal arrived
        arrived += 1
        ticket = Ticket(str(arrived), names, POLICY, now_s, 1e9)
        _keep(scheduler.arrive(ticket, now_s), running)

    while scheduler.waiting < waiting:
        arrive()
    begun = time.perf_counter()
    for _ in range(decisions):
        now_s += 0.001
        arrive()
        _keep(scheduler.completed(running.popleft(), now_s), running)
    return (time.perf_counter() - begun) / decisions * 1e6


def _keep(decisions: list[object], running: deque[Attempt]) -> None:
    running.extend(d.attempt for d in decisions if isinstance(d, Dispatch))


def _endpoint(number: int) -> Endpoint:
    pool = Pool("pool", "cpu")
    worker = Worker(f"w{number}", pool.name, "http://x", "openai", SLOTS)
    service_ms = SERVICE_MS[number % len(SERVICE_MS)]
    deployment = Deployment(
        number, "m", "p", 1, pool.name, "m", Price(1), service_prior_ms=service_ms
    )
    return Endpoint(worker.id, deployment, worker, pool)


if __name__ == "__main__":
    sys.exit(main())
