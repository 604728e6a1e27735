"""``python -m benchmarks.decision``: what one scheduling decision costs, in microseconds.

A decision is an arrival and a completion through the whole scheduler with the default policy, on
virtual time and with exponential service times, so that workers run early and late as they do. Two
settings: a small fleet without a queue, and a large one with a deep queue, where for every
completion another ticket arrives.
"""

import heapq
import random
import statistics
import sys
import time

from router.domain.catalog import Deployment, Endpoint, Policy, Pool, Worker
from router.domain.pricing import Price
from router.scheduling.decisions import Cancel, Decision, Dispatch, Hedge, Probe
from router.scheduling.fleet import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket

SLOTS = 4
SERVICE_MS = (40.0, 60.0, 120.0, 400.0)
REPEATS = 5
POLICY = Policy(1, 1, "m")


def main() -> int:
    """Print the median over a few repeats, and their spread."""
    for workers, waiting, decisions in ((12, 0, 10_000), (200, 200, 4_000)):
        runs = [Closed(workers, waiting, seed).run(decisions) for seed in range(REPEATS)]
        print(
            f"{workers:4d} workers, {waiting:4d} waiting: {statistics.median(runs):9.1f} us a "
            f"decision (min {min(runs):.1f}, max {max(runs):.1f}, {REPEATS} runs)"
        )
    return 0


class Closed:
    """A closed system: ``waiting`` tickets more than the fleet takes, or half of what it takes."""

    def __init__(self, workers: int, waiting: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._scheduler = Scheduler(queue_max=10_000, random=self._random.random)
        endpoints = [_endpoint(i) for i in range(workers)]
        self._names = tuple(endpoint.id for endpoint in endpoints)
        self._ends: list[tuple[float, int, Attempt]] = []
        self._stopped: set[int] = set()
        self._arrived = 0
        self._now_s = 0.0
        self._keep(self._scheduler.apply(endpoints, 0.0))
        if waiting:
            while self._scheduler.waiting < waiting:
                self._arrive()
        else:
            for _ in range(workers * SLOTS // 2):
                self._arrive()

    def run(self, decisions: int) -> float:
        """Mean microseconds a decision; the loop around it is counted too."""
        begun = time.perf_counter()
        for _ in range(decisions):
            self._now_s, number, attempt = heapq.heappop(self._ends)
            if number not in self._stopped:
                self._keep(self._scheduler.completed(attempt, self._now_s))
                self._arrive()
        return (time.perf_counter() - begun) / decisions * 1e6

    def _arrive(self) -> None:
        self._arrived += 1
        ticket = Ticket(str(self._arrived), self._names, POLICY, self._now_s, 1e9)
        self._keep(self._scheduler.arrive(ticket, self._now_s))

    def _keep(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch | Hedge | Probe):
                attempt = decision.attempt
                mean_s = attempt.endpoint.endpoint.deployment.service_prior_ms / 1e3
                ends_s = self._now_s + self._random.expovariate(1 / mean_s)
                heapq.heappush(self._ends, (ends_s, attempt.id, attempt))
            elif isinstance(decision, Cancel):
                self._stopped.add(decision.attempt.id)


def _endpoint(number: int) -> Endpoint:
    pool = Pool("pool", "cpu")
    worker = Worker(f"w{number}", pool.name, "http://x", "openai", SLOTS)
    service_ms = SERVICE_MS[number % len(SERVICE_MS)]
    deployment = Deployment(
        number % len(SERVICE_MS), "m", "p", 1, pool.name, "m", Price(1), service_prior_ms=service_ms
    )
    return Endpoint(worker.id, deployment, worker, pool)


if __name__ == "__main__":
    sys.exit(main())
