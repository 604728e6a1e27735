"""``python -m tests.bench.decision``: what one scheduling decision costs, in microseconds.

A decision is an arrival and a completion through the whole scheduler with the default policy, on
virtual time and with exponential service times, so that workers run early and late as they do. Two
settings: a small fleet without a queue, and a large one with a deep queue, where for every
completion another ticket arrives.

It measures the build of the router that ``ROUTER_BUILD`` names, or with ``--both`` each of them in
turns, in processes of their own, and how many times faster the compiled one is.
"""

import argparse
import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import time

from router.build import BUILDS, COMPILED, PLAIN, build_of
from router.domain.catalog import Deployment, Endpoint, Policy, Pool, Worker
from router.domain.pricing import Price
from router.scheduling import scheduler
from router.scheduling.decisions import Cancel, Decision, Dispatch, Hedge, Probe
from router.scheduling.endings import ANSWERED
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket
from router.scheduling.worker import Attempt

SLOTS = 4
SERVICE_MS = (40.0, 60.0, 120.0, 400.0)
REPEATS = 5
TURNS = 3
POLICY = Policy(1, 1, "m")
FLEETS = ((12, 0, 10_000), (200, 200, 4_000))
"""Workers, tickets that wait, decisions that are measured."""


def main() -> int:
    """Print the median over a few repeats, and their spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--both", action="store_true", help="compare the two builds")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    measured = _both() if options.both else {build_of(scheduler): _measured()}
    if options.json:
        print(json.dumps(measured))
        return 0
    for index, (workers, waiting, _) in enumerate(FLEETS):
        for build, fleets in measured.items():
            runs = fleets[index]
            print(
                f"{workers:4d} workers, {waiting:4d} waiting: {statistics.median(runs):9.1f} us a "
                f"decision, {build} (min {min(runs):.1f}, max {max(runs):.1f}, {len(runs)} runs)"
            )
        if options.both:
            plain, compiled = (statistics.median(measured[b][index]) for b in (PLAIN, COMPILED))
            print(f"{'':28}{plain / compiled:9.1f} times faster compiled")
    return 0


def _measured() -> list[list[float]]:
    """Microseconds of each run, by fleet."""
    return [
        [Closed(workers, waiting, seed).run(decisions) for seed in range(REPEATS)]
        for workers, waiting, decisions in FLEETS
    ]


def _both() -> dict[str, list[list[float]]]:
    """The same by build: in turns, since the machine is not always as fast."""
    found: dict[str, list[list[float]]] = {build: [[] for _ in FLEETS] for build in BUILDS}
    for build in BUILDS * TURNS:
        done = subprocess.run(
            (sys.executable, "-m", "tests.bench.decision", "--json"),
            env={**os.environ, "ROUTER_BUILD": build},
            stdout=subprocess.PIPE,
            check=True,
        )
        for runs, more in zip(found[build], json.loads(done.stdout)[build], strict=True):
            runs.extend(more)
    return found


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
                self._keep(self._scheduler.ended(attempt, ANSWERED, self._now_s))
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
