"""The event loop: arrivals and machines on one side, the scheduler on the other, no real time.

It handles the scheduler's decisions as the gateway does: it sends, retries before the first byte
under the same budget, races hedges and runs probes. Every request ends in exactly one result.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from math import inf
from random import Random

import msgspec
from msgspec import Struct

from router.domain.catalog import Canary, Endpoint, Policy
from router.domain.money import NANO_PER_USD
from router.domain.request import BYTES_PER_TOKEN, Sort
from router.scheduling.attempts.endings import ANSWERED, FAILED
from router.scheduling.decisions import Cancel, Decision, Dispatch, Hedge, Probe, Reject
from router.scheduling.fleet.budget import retry_budget
from router.scheduling.fleet.slot_share import slot_shares
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import NO_TERMS, Ticket, Used
from router.simulator.slots.machine import Job, Machine, MachineState
from router.simulator.trouble import Event, Trouble
from router.simulator.workload import Arrival

MODEL = "simulated"
ATTEMPTS_MAX = 3
PROBE_SIZE = 0.1
BEAT_S = 1.0
MEMBER_TTL_S = 3.0
ROUTER_DIED = "router_died"
TOKENS = 1_000.0
"""Tokens for a prediction of 1: the router gets tokens and learns what they mean."""


PROMPT_TOKENS = 400
ANSWER_TOKENS = 100


class Answers(StrEnum):
    """Requests are generations with whole answers: with tokens in proportion to their size, or all
    with the same number.
    """

    SIZED = "sized"
    ALIKE = "alike"


class Result(Struct, frozen=True, gc=False):
    """How one request ended. ``error`` is empty if it was answered.

    ``queue_s`` is how long it waited in the router until it was first sent to a machine or given
    up. ``policy_id`` is the policy that placed it.
    """

    at_s: float
    latency_s: float
    machine: str = ""
    tenant: int = 0
    priority: str = ""
    error: str = ""
    cost_nano: int = 0
    queue_s: float = 0.0
    policy_id: int = 0

    @property
    def ended_s(self) -> float:
        """When the answer was there, or was known not to come."""
        return self.at_s + self.latency_s


class Setup(Struct, frozen=True):
    """What is simulated: machines, how routers place, and the network between them.

    With several ``routers``, the first one owns the model and the others forward to it, one hop. If
    the model is ``shared``, each router places its own calls over its lease of the slots. At
    ``owner_dies_s`` the first router dies with everything that it has. A ``canary`` places its
    share of the requests, drawn one by one.
    """

    machines: tuple[Machine, ...]
    routers: int = 1
    shared: bool = False
    owner_dies_s: float = inf
    policy: Policy = Policy(1, 1, MODEL)
    canary: Canary | None = None
    network_ms: float = 1.0
    queue_max: int = 10_000
    queue_wait_s: float = 1e9
    sort: Sort | None = None
    answers: Answers | None = None


class _Call:
    """One request on its way."""

    __slots__ = ("arrival", "excluded", "hop_s", "number", "policy", "router", "sent_s", "tries")

    def __init__(self, number: int, arrival: Arrival, policy: Policy) -> None:
        self.number = number
        self.arrival = arrival
        self.policy = policy
        self.router = 0
        self.hop_s = 0.0
        self.sent_s = inf
        self.excluded: frozenset[str] = frozenset()
        self.tries = 0


class Simulation:
    """One run. ``hedges``, ``probes``, ``ejections`` and ``retries`` count what happened.

    ``canary`` may be set to None during the run; later arrivals then have one policy.
    """

    def __init__(self, setup: Setup, seed: int) -> None:
        self._rng = Random(f"router-{seed}")
        self._arms = Random(f"arms-{seed}")
        self._setup = setup
        self.canary = setup.canary
        self._half_s = setup.network_ms / 2e3
        self._machines = {machine.name: MachineState(machine) for machine in setup.machines}
        self._events: list[tuple[float, int, Callable[..., None], object]] = []
        self._numbers = itertools.count()
        self._calls: dict[str, _Call] = {}
        self._jobs: dict[Attempt, Job] = {}
        self._retry_budget = retry_budget()
        self._tick_due_s = [inf] * setup.routers
        self._alive = list(range(setup.routers))
        self._now_s = 0.0
        self._more_to_come = True
        self.results: list[Result] = []
        self.hedges = self.probes = self.ejections = self.retries = 0
        self.schedulers = [
            Scheduler(queue_max=setup.queue_max, random=self._rng.random, explain=False)
            for _ in range(setup.routers)
        ]
        kinds = {kind: n for n, kind in enumerate(dict.fromkeys(m.kind for m in setup.machines), 1)}
        endpoints = [machine.endpoint(kinds[machine.kind], MODEL) for machine in setup.machines]
        self._candidates = tuple(endpoint.id for endpoint in endpoints)
        self._prices = {
            e.id: float(m.price_nano) for e, m in zip(endpoints, setup.machines, strict=True)
        }
        usd_weight_s = setup.policy.usd_weight_s / NANO_PER_USD
        self._penalties = (
            {id_: nano * usd_weight_s for id_, nano in self._prices.items()}
            if usd_weight_s
            else NO_TERMS
        )
        self._leases = [dict[str, int]() for _ in range(setup.routers)]
        for router, scheduler in enumerate(self.schedulers):
            self._apply(router, scheduler.apply(endpoints, 0.0))
        if setup.routers > 1:
            self._at(0.0, self._beat, None)
            if setup.owner_dies_s < inf:
                self._at(setup.owner_dies_s, self._die, 0)
        for machine in setup.machines:
            for event in machine.events:
                self._at(event.from_s, self._trouble_begins, (machine.name, event))
                self._at(event.to_s, self._trouble_ends, (machine.name, event))

    def run(self, arrivals: Iterable[Arrival], count: int) -> list[Result]:
        """Feed the first ``count`` arrivals and run until all have ended."""
        source: Iterator[Arrival] = itertools.islice(arrivals, count)
        upcoming = next(source, None)
        events = self._events
        while True:
            self._more_to_come = upcoming is not None
            at_s = upcoming.at_s if upcoming is not None else inf
            if events and events[0][0] <= at_s:
                self._now_s, _, handle, what = heapq.heappop(events)
                handle(what)
            elif upcoming is not None:
                self._now_s = at_s
                self._arrive(upcoming)
                upcoming = next(source, None)
            elif not self._calls or not events:
                return self.results

    def at(self, at_s: float, do: Callable[["Simulation"], None]) -> None:
        """Do something at a given time, as a person or a job would: publish a snapshot, say."""
        self._at(at_s, do, self)

    @property
    def now_s(self) -> float:
        """The moment that is simulated."""
        return self._now_s

    def arrive(self, arrival: Arrival) -> None:
        """A request comes now, beside those that :meth:`run` feeds."""
        self._at(self._now_s, self._arrive, arrival)

    def ended(self) -> None:
        """A request has ended. Does nothing here."""

    def publish(self, endpoints: Iterable[Endpoint]) -> None:
        """Every router takes this snapshot now."""
        known = tuple(endpoints)
        for router in self._alive:
            self._apply(router, self.schedulers[router].apply(known, self._now_s))

    # Requests

    def _arrive(self, arrival: Arrival) -> None:
        call = _Call(len(self.results) + len(self._calls), arrival, self._arm())
        self._calls[str(call.number)] = call
        self._retry_budget.deposit()
        if self._setup.routers == 1:
            return self._place(call)
        lands_on = self._alive[int(self._rng.random() * len(self._alive))]
        call.router = lands_on if self._setup.shared else self._alive[0]
        if call.router == lands_on:
            return self._place(call)
        call.hop_s = self._half_s
        self._at(self._now_s + call.hop_s, self._place, call)

    def _arm(self) -> Policy:
        canary = self.canary
        if canary is not None and self._arms.random() < canary.share:
            return canary.policy
        return self._setup.policy

    def _place(self, call: _Call) -> None:
        arrival, now_s, setup = call.arrival, self._now_s, self._setup
        if call.router not in self._alive:
            return self._end(call, "", ROUTER_DIED)
        scheduler = self.schedulers[call.router]
        features = (arrival.predicted * TOKENS,) if arrival.predicted else ()
        ticket = Ticket(
            id=str(call.number),
            candidates=self._candidates,
            policy=call.policy,
            arrived_s=arrival.at_s,
            expires_s=now_s + setup.queue_wait_s,
            work=scheduler.sizes.predict(MODEL, features),
            features=features,
            priority=arrival.priority,
            tenant=arrival.tenant,
            deadline_s=arrival.at_s + arrival.deadline_ms / 1e3 if arrival.deadline_ms else inf,
            excluded=call.excluded,
            penalty_s=self._penalties,
        )
        if setup.sort is not None:
            ticket = msgspec.structs.replace(ticket, sort=setup.sort, cost_nano=self._prices)
        if setup.answers is not None:
            size_bytes = PROMPT_TOKENS * BYTES_PER_TOKEN
            ticket = msgspec.structs.replace(
                ticket,
                prompt_bytes=size_bytes,
                prompt_tokens=scheduler.tokens.prompt(MODEL, size_bytes),
                answer_tokens=scheduler.tokens.answer(MODEL, arrival.tenant, 0),
            )
        self._apply(call.router, scheduler.arrive(ticket, now_s))

    def _end(self, call: _Call, machine: str, error: str = "") -> None:
        if self._calls.pop(str(call.number), None) is None:
            return
        arrival = call.arrival
        queue_s = min(call.sent_s, self._now_s) - arrival.at_s
        cost = self._machines[machine].machine.price_nano if machine else 0
        self.results.append(
            Result(
                arrival.at_s,
                self._now_s + call.hop_s - arrival.at_s,
                machine,
                arrival.tenant,
                arrival.priority,
                error,
                cost,
                queue_s,
                call.policy.id,
            )
        )
        self.ended()

    # Decisions

    def _apply(self, router: int, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch):
                self._send(decision.attempt, router)
            elif isinstance(decision, Hedge):
                self.hedges += 1
                self._send(decision.attempt, router)
            elif isinstance(decision, Probe):
                self.probes += 1
                self._send(decision.attempt, router)
            elif isinstance(decision, Cancel):
                self._stop(decision.attempt)
            elif isinstance(decision, Reject):
                self._end(self._calls[decision.ticket.id], "", decision.reason.value)
            else:
                self.ejections += 1
        self._tick_again(router)

    def _send(self, attempt: Attempt, router: int) -> None:
        state = self._machines[attempt.endpoint.worker.id]
        call = self._calls.get(attempt.ticket.id)
        if call is not None:
            call.sent_s = min(call.sent_s, self._now_s)
        job = Job(attempt, call.arrival.size if call is not None else PROBE_SIZE, router)
        self._jobs[attempt] = job
        if not state.up:
            self._at(self._now_s + 2 * self._half_s, self._failed, job)
        elif state.submit(job, self._now_s + self._half_s):
            self._at((job.ends_s or 0.0) + self._half_s, self._done, job)

    def _stop(self, attempt: Attempt) -> None:
        job = self._jobs.pop(attempt, None)
        if job is not None and not job.over:
            self._free(job, self._now_s)

    def _free(self, job: Job, at_s: float) -> None:
        following = self._machines[job.attempt.endpoint.worker.id].finish(job, at_s)
        if following is not None:
            self._at((following.ends_s or 0.0) + self._half_s, self._done, following)

    def _done(self, job: Job) -> None:
        if job.over or job.ends_s is None:
            return
        attempt = job.attempt
        self._free(job, job.ends_s)
        self._jobs.pop(attempt, None)
        call = self._calls.get(attempt.ticket.id)
        if call is not None:
            self._end(call, attempt.endpoint.worker.id)
        used = self._used(job)
        self._apply(
            job.router, self.schedulers[job.router].ended(attempt, ANSWERED, self._now_s, used)
        )

    def _used(self, job: Job) -> Used | None:
        """The token counts that the worker reports."""
        answers = self._setup.answers
        if answers is None or job.attempt.is_probe:
            return None
        share = job.size if answers is Answers.SIZED else 1.0
        return Used(PROMPT_TOKENS, 0, max(round(share * ANSWER_TOKENS), 1))

    def _failed(self, job: Job) -> None:
        attempt = job.attempt
        if self._jobs.pop(attempt, None) is None:
            return  # It was stopped meanwhile.
        raced = attempt.twin is not None and attempt.twin in self._jobs
        self._apply(job.router, self.schedulers[job.router].ended(attempt, FAILED, self._now_s))
        call = self._calls.get(attempt.ticket.id)
        if call is None or raced:
            return
        call.tries += 1
        call.excluded |= {attempt.endpoint.worker.id}
        left = len(self._machines) > len(call.excluded)
        if call.tries < ATTEMPTS_MAX and left and self._retry_budget.withdraw():
            self.retries += 1
            self._place(call)
        else:
            self._end(call, "", "worker_failed")

    # Routers

    def _beat(self, _: object) -> None:
        """Divide the slots again, as the routers do among themselves."""
        demands = {str(self._alive[0]): 1.0}
        for name, machine in self._machines.items():
            slots = machine.machine.slots
            if self._setup.shared:
                demands = {str(router): self._demand(router, name) for router in self._alive}
            shares = slot_shares(slots, demands)
            for router in self._alive:
                leases = self._leases[router]
                others = sum(held.get(name, 0) for held in self._leases) - leases.get(name, 0)
                leases[name] = max(0, min(shares.get(str(router), 0), slots - others))
        for router in self._alive:
            self._apply(router, self.schedulers[router].lease(self._leases[router], self._now_s))
        if self._calls or self._more_to_come:
            self._at(self._now_s + BEAT_S, self._beat, None)

    def _demand(self, router: int, worker: str) -> float:
        scheduler = self.schedulers[router]
        running = len(scheduler.fleet.workers[worker].inflight)
        return running + scheduler.waiting / len(self._machines)

    def _die(self, router: int) -> None:
        """A router is killed: its calls are lost, and its leases last until they expire."""
        self._alive.remove(router)
        for job in [job for job in self._jobs.values() if job.router == router]:
            self._stop(job.attempt)
        for call in [call for call in self._calls.values() if call.router == router]:
            self._end(call, "", ROUTER_DIED)
        self._at(self._now_s + MEMBER_TTL_S, self._expire, router)

    def _expire(self, router: int) -> None:
        self._leases[router].clear()

    # Trouble

    def _trouble_begins(self, what: tuple[str, Event]) -> None:
        name, event = what
        state = self._machines[name]
        if event.trouble is Trouble.SLOW:
            state.slow = event.factor
        elif event.trouble is Trouble.DRIFT:
            state.drift(event)
        elif event.trouble is Trouble.CRASH:
            state.up = False
            for job in state.drop():
                self._failed(job)
        else:
            state.hang()

    def _trouble_ends(self, what: tuple[str, Event]) -> None:
        name, event = what
        state = self._machines[name]
        if event.trouble is Trouble.SLOW:
            state.slow = 1.0
        elif event.trouble is Trouble.CRASH:
            state.up = True
        elif event.trouble is Trouble.HANG:
            state.hung = False
            for job in state.drop():
                self._failed(job)

    # Time

    def _at(self, at_s: float, handle: Callable[..., None], what: object) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), handle, what))

    def _tick_again(self, router: int) -> None:
        due_s = self.schedulers[router].next_tick_s(self._now_s)
        if due_s is not None and due_s < self._tick_due_s[router]:
            self._tick_due_s[router] = due_s
            self._at(due_s, self._tick, (due_s, router))

    def _tick(self, what: tuple[float, int]) -> None:
        due_s, router = what
        if due_s != self._tick_due_s[router] or router not in self._alive:
            return  # An earlier tick has taken its place.
        self._tick_due_s[router] = inf
        self._apply(router, self.schedulers[router].tick(self._now_s))
