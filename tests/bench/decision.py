"""``python -m tests.bench.decision``: what one scheduling decision costs, in microseconds.

A decision is an arrival and a completion through the whole scheduler with the default policy, on
virtual time and with exponential service times, so that workers run early and late as they do. A
fleet is small and has no queue, or it is large with a deep queue, where for every completion
another ticket arrives. On engines a decision is a stream: its first token and its other tokens are
events too.

It counts processor time, so that other programs on the machine hardly matter.

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
from typing import NamedTuple

from msgspec.structs import replace

from router.build import BUILDS, COMPILED, PLAIN, build_of
from router.domain.catalog import Deployment, Endpoint, Policy, Pool, Worker
from router.domain.pricing import Price
from router.domain.request import BYTES_PER_TOKEN
from router.scheduling import scheduler
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Cancel, Decision, Dispatch, Hedge, Probe
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket, Used

SLOTS = 4
SERVICE_MS = (40.0, 60.0, 120.0, 400.0)
REPEATS = 5
TURNS = 3
POLICY = Policy(1, 1, "m")
FIRST_SHARE = 0.1
"""The part of a stream's time that passes before its first token."""

PROMPT_TOKENS, ANSWER_TOKENS = 1_000, 100
BLOCKS = 16
CHATS = 1_000
"""Of so many chats each prompt is the next turn, with ``BLOCKS`` blocks of its beginning known."""


class Setting(NamedTuple):
    """A fleet of ``workers``, the tickets that wait for it, and how many decisions are measured."""

    kind: str
    workers: int
    waiting: int
    decisions: int


SETTINGS = (
    Setting("slots", 12, 0, 10_000),
    Setting("slots", 200, 200, 4_000),
    Setting("engines", 12, 0, 6_000),
    Setting("engines", 200, 0, 4_000),
    Setting("engines", 200, 200, 4_000),
)


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
    for index, setting in enumerate(SETTINGS):
        for build, settings in measured.items():
            runs = settings[index]
            print(
                f"{setting.workers:4d} {setting.kind:7s}, {setting.waiting:4d} waiting: "
                f"{statistics.median(runs):9.1f} us a decision, {build} "
                f"(min {min(runs):.1f}, max {max(runs):.1f}, {len(runs)} runs)"
            )
        if options.both:
            plain, compiled = (statistics.median(measured[b][index]) for b in (PLAIN, COMPILED))
            print(f"{'':28}{plain / compiled:9.1f} times faster compiled")
    return 0


def _measured() -> list[list[float]]:
    """Microseconds of each run, by setting."""
    return [
        [Closed(setting, seed).run(setting.decisions) for seed in range(REPEATS)]
        for setting in SETTINGS
    ]


def _both() -> dict[str, list[list[float]]]:
    """The same by build: in turns, since the machine is not always as fast."""
    found: dict[str, list[list[float]]] = {build: [[] for _ in SETTINGS] for build in BUILDS}
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

    def __init__(self, setting: Setting, seed: int) -> None:
        self._random = random.Random(seed)
        self._scheduler = Scheduler(queue_max=10_000, random=self._random.random)
        self._streams = setting.kind == "engines"
        endpoints = [_endpoint(i) for i in range(setting.workers)]
        self._names = tuple(endpoint.id for endpoint in endpoints)
        self._free_s = {endpoint.worker.id: [0.0] * SLOTS for endpoint in endpoints}
        self._events: list[tuple[float, int, bool, Attempt]] = []
        self._stopped: set[int] = set()
        self._arrived = 0
        self._now_s = 0.0
        self._keep(self._scheduler.apply(endpoints, 0.0))
        if setting.waiting:
            while self._scheduler.waiting < setting.waiting:
                self._arrive()
        else:
            for _ in range(setting.workers * SLOTS // 2):
                self._arrive()

    def run(self, decisions: int) -> float:
        """Mean microseconds a decision; the loop around it is counted too."""
        left, begun = decisions, time.process_time()
        while left:
            self._now_s, number, is_first, attempt = heapq.heappop(self._events)
            if number in self._stopped:
                continue
            if is_first:
                self._keep(self._scheduler.first_byte(attempt, self._now_s))
                continue
            left -= 1
            self._end(attempt)
            self._arrive()
        return (time.process_time() - begun) / decisions * 1e6

    def _end(self, attempt: Attempt) -> None:
        used = None
        if self._streams and not attempt.is_probe:
            attempt.heard(ANSWER_TOKENS, self._now_s)
            used = Used(PROMPT_TOKENS, round(attempt.cached_tokens), ANSWER_TOKENS)
        self._keep(self._scheduler.ended(attempt, ANSWERED, self._now_s, used))

    def _arrive(self) -> None:
        self._arrived += 1
        ticket = Ticket(str(self._arrived), self._names, POLICY, self._now_s, 1e9)
        if self._streams:
            chat = self._random.randrange(CHATS) * BLOCKS
            ticket = replace(
                ticket,
                prefix=tuple(range(chat, chat + BLOCKS)),
                prompt_tokens=PROMPT_TOKENS,
                prompt_bytes=PROMPT_TOKENS * BYTES_PER_TOKEN,
                answer_tokens=ANSWER_TOKENS,
                streams=True,
            )
        self._keep(self._scheduler.arrive(ticket, self._now_s))

    def _keep(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch | Hedge | Probe):
                self._begin(decision.attempt)
            elif isinstance(decision, Cancel):
                self._stopped.add(decision.attempt.id)

    def _begin(self, attempt: Attempt) -> None:
        """It begins when one of its worker's slots is free."""
        endpoint = attempt.endpoint.endpoint
        free_s = self._free_s[endpoint.worker.id]
        begins_s = max(free_s[0], self._now_s)
        took_s = self._random.expovariate(1e3 / endpoint.deployment.service_prior_ms)
        heapq.heapreplace(free_s, begins_s + took_s)
        if self._streams and not attempt.is_probe:
            first_s = begins_s + FIRST_SHARE * took_s
            heapq.heappush(self._events, (first_s, attempt.id, True, attempt))
        heapq.heappush(self._events, (begins_s + took_s, attempt.id, False, attempt))


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
