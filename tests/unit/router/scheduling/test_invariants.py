"""What must hold after any sequence of events."""

from collections import Counter
from itertools import pairwise
from math import inf
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.domain.request import Priority, Sort
from router.scheduling.attempts.endings import ANSWERED, BUSY, FAILED, GIVEN_UP, Ending
from router.scheduling.decisions import (
    Cancel,
    Decision,
    Dispatch,
    Eject,
    Hedge,
    Probe,
    Reject,
    RejectReason,
)
from router.scheduling.fleet.worker import Attempt
from router.scheduling.ticket import Ticket
from router.scheduling.waiting.admission import OWN_PER_FREE
from tests.examples import examples
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket

SLOTS = {"a": 1, "b": 2, "c": 4}
SLOTS_MAX = 8
SPEEDS_MS = {"a": 20.0, "b": 100.0, "c": 400.0}
NAMES = st.sets(st.sampled_from("abc"), min_size=1)
QUEUE_MAX = 5
DRAIN_MAX_S = 600.0


class SchedulerMachine(RuleBasedStateMachine):
    """Random arrivals, ends, cancellations, fleets and time, and what must always be true."""

    generation: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = scheduler(queue_max=QUEUE_MAX)
        self.catalog = dict(SLOTS)
        self.granted: dict[str, int] = {}
        self.now_s = 0.0
        self.arrived = 0
        self.waiting: dict[str, Ticket] = {}
        self.answered: set[str] = set()
        self.running: dict[int, Attempt] = {}
        self.publish()

    def publish(self) -> None:
        fleet = [
            endpoint(name, slots=slots, service_ms=SPEEDS_MS[name])
            for name, slots in self.catalog.items()
        ]
        self.note(self.scheduler.apply(fleet, self.now_s))

    def note(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch):
                self.goes_where_it_may(decision.attempt)
                self.answer(decision.attempt.ticket.id)
                self.run(decision.attempt)
            elif isinstance(decision, Hedge):
                assert decision.of.id in self.running
                assert decision.of.endpoint.worker is not decision.attempt.endpoint.worker
                assert not self.waiting, "it took a slot from somebody"
                self.goes_where_it_may(decision.attempt)
                self.run(decision.attempt)
            elif isinstance(decision, Probe):
                assert decision.attempt.is_probe
                assert decision.attempt.endpoint.worker.id in self.catalog
                self.run(decision.attempt)
            elif isinstance(decision, Cancel):
                del self.running[decision.attempt.id]
            elif isinstance(decision, Reject):
                self.has_a_reason(decision)
                self.answer(decision.ticket.id)
            else:
                assert isinstance(decision, Eject)
                assert decision.until_s > self.now_s
        self.nobody_got_more_than_it_holds(decisions)

    def answer(self, name: str) -> None:
        assert name not in self.answered, "answered twice"
        self.answered.add(name)
        self.waiting.pop(name, None)

    def run(self, attempt: Attempt) -> None:
        assert attempt.id not in self.running
        self.running[attempt.id] = attempt

    def usable(self, made: Ticket) -> list[str]:
        return [n for n in made.candidates if n in self.catalog and n not in made.excluded]

    def goes_where_it_may(self, attempt: Attempt) -> None:
        worker, usable = attempt.endpoint.worker, self.usable(attempt.ticket)
        assert worker.id in usable
        if worker.ejection.is_ejected:
            workers = self.scheduler.fleet.workers
            assert all(workers[name].ejection.is_ejected for name in usable)

    def has_a_reason(self, decision: Reject) -> None:
        made, reason = decision.ticket, decision.reason
        assert decision.retry_after_s > 0
        assert bool(self.usable(made)) is (reason is not RejectReason.NOTHING_ELIGIBLE)
        if reason is RejectReason.QUEUE_FULL:
            others = [one for one in self.waiting.values() if one is not made]
            own = sum(one.tenant == made.tenant for one in others)
            assert own >= OWN_PER_FREE * (QUEUE_MAX - len(others))
        if reason is RejectReason.DEADLINE:
            assert made.deadline_s < inf

    def nobody_got_more_than_it_holds(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch | Hedge):
                worker = decision.attempt.endpoint.worker
                slots = min(self.catalog[worker.id], self.granted.get(worker.id, SLOTS_MAX))
                assert worker.slots == slots
                # A probe needs no slot: it goes to who has nothing to do, or to who is ejected.
                clients = sum(not attempt.is_probe for attempt in worker.inflight.values())
                assert clients <= slots + worker.bounds.credit

    @rule(
        names=NAMES,
        excluded=st.sets(st.sampled_from("abc"), max_size=1),
        patience_s=st.floats(0.1, 10),
        priority=st.sampled_from(list(Priority)),
        tenant=st.integers(0, 2),
        work=st.floats(0.1, 8.0),
        has_deadline=st.booleans(),
        sort=st.sampled_from([None, None, *Sort]),
    )
    def arrive(
        self,
        names: set[str],
        excluded: set[str],
        patience_s: float,
        priority: Priority,
        tenant: int,
        work: float,
        has_deadline: bool,
        sort: Sort | None,
    ) -> None:
        self.arrived += 1
        made = ticket(
            f"t{self.arrived}",
            *sorted(names),
            now_s=self.now_s,
            patience_s=patience_s,
            deadline_s=self.now_s + patience_s if has_deadline else inf,
            cost_nano={name: 100.0 / speed for name, speed in SPEEDS_MS.items()},
            priority=priority,
            tenant=tenant,
            work=work,
            sort=sort,
            excluded=frozenset(excluded),
            **self.generation,
        )
        self.waiting[made.id] = made
        self.note(self.scheduler.arrive(made, self.now_s))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from([ANSWERED, FAILED, BUSY, GIVEN_UP]))
    def end(self, data: st.DataObject, how: Ending) -> None:
        attempt = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.note(self.scheduler.ended(attempt, how, self.now_s))
        assert self.scheduler.ended(attempt, how, self.now_s) == [], "its end is told once"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def first_byte(self, data: st.DataObject) -> None:
        attempt = self.running[data.draw(st.sampled_from(sorted(self.running)))]
        if not attempt.is_probe:
            self.note(self.scheduler.first_byte(attempt, self.now_s))
            assert attempt.id in self.running

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        made = self.waiting.pop(data.draw(st.sampled_from(sorted(self.waiting))))
        self.scheduler.withdrawn(made)
        self.answered.add(made.id)

    @rule(seconds=st.floats(0.001, 5))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.note(self.scheduler.tick(self.now_s))

    @rule()
    def wait_for_what_is_due(self) -> None:
        due_s = self.scheduler.next_tick_s(self.now_s)
        if due_s is not None:
            assert due_s >= self.now_s
            self.now_s = due_s
            self.note(self.scheduler.tick(self.now_s))

    @rule(granted=st.fixed_dictionaries({name: st.integers(0, SLOTS[name]) for name in SLOTS}))
    def lease(self, granted: dict[str, int]) -> None:
        self.granted = granted
        self.note(self.scheduler.lease(granted, self.now_s))

    @rule(name=st.sampled_from("abc"), slots=st.integers(1, SLOTS_MAX))
    def resize(self, name: str, slots: int) -> None:
        if name in self.catalog:
            self.catalog[name] = slots
            self.publish()

    @rule(names=NAMES)
    def replace(self, names: set[str]) -> None:
        self.catalog = {name: self.catalog.get(name, SLOTS[name]) for name in sorted(names)}
        self.publish()

    @invariant()
    def no_ticket_is_lost(self) -> None:
        assert self.scheduler.waiting == len(self.waiting) <= QUEUE_MAX
        assert len(self.answered) + len(self.waiting) == self.arrived

    @invariant()
    def slots_are_held_by_what_runs_and_nothing_else(self) -> None:
        workers = {id(w): w for w in self.scheduler.fleet.workers.values()}
        workers |= {id(a.endpoint.worker): a.endpoint.worker for a in self.running.values()}
        held = [id_ for worker in workers.values() for id_ in worker.inflight]
        assert sorted(held) == sorted(self.running)

    @invariant()
    def nothing_runs_twice_but_a_hedge(self) -> None:
        runs = Counter(a.ticket.id for a in self.running.values())
        for attempt in self.running.values():
            pair = attempt.twin is not None and attempt.twin.id in self.running
            assert runs[attempt.ticket.id] == (2 if pair else 1)

    def teardown(self) -> None:
        """Everything ends: the queue drains and every slot is free."""
        self.granted = {}
        self.note(self.scheduler.lease({}, self.now_s))
        latest_s = self.now_s + DRAIN_MAX_S
        while self.running or self.waiting:
            self.now_s += 0.05
            if self.running:
                _, attempt = self.running.popitem()
                self.note(self.scheduler.ended(attempt, ANSWERED, self.now_s))
            self.note(self.scheduler.tick(self.now_s))
            assert self.now_s < latest_s, "it does not drain"
        assert self.scheduler.waiting == 0
        assert all(not w.inflight for w in self.scheduler.fleet.workers.values())


class EnginesMachine(SchedulerMachine):
    """The same for streams on engines, whose load does not follow from slots."""

    generation: ClassVar[dict[str, Any]] = {
        "streams": True,
        "prompt_bytes": 4_000,
        "prompt_tokens": 1_000.0,
        "answer_tokens": 100.0,
    }

    def nobody_got_more_than_it_holds(self, decisions: list[Decision]) -> None:
        """But none is sent to where no slot is leased."""
        for decision in decisions:
            if isinstance(decision, Dispatch):
                assert self.granted.get(decision.attempt.endpoint.worker.id, SLOTS_MAX) > 0


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=examples(50), stateful_step_count=40)
TestEngines = EnginesMachine.TestCase
TestEngines.settings = settings(max_examples=examples(50), stateful_step_count=40)


@pytest.mark.parametrize("calls", [3_000, pytest.param(6_000, marks=pytest.mark.nightly)])
def test_nobody_starves_in_a_long_overload(calls: int) -> None:
    """One tenant sends ten times the fair share, most of it interactive; all get their turn."""
    made = scheduler(endpoint("a", slots=2, service_ms=100), queue_max=10_000)
    running: list[Attempt] = []
    served: dict[tuple[int, Priority], list[tuple[float, float]]] = {}
    now_s = 0.0

    def keep(decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch):
                running.append(decision.attempt)
                went = decision.attempt.ticket
                waits = served.setdefault((went.tenant, went.priority), [])
                waits.append((now_s, now_s - went.arrived_s))

    for number in range(calls):
        now_s += 0.04  # Half as much again as the worker can do.
        priority = Priority.BATCH if number % 25 == 0 else Priority.INTERACTIVE
        tenant = int(number % 11 == 0)
        keep(
            made.arrive(
                ticket(str(number), "a", now_s=now_s, tenant=tenant, priority=priority), now_s
            )
        )
        while running and now_s - running[0].run.started_s >= 0.1 and not running[0].run.waiting:
            keep(made.ended(running.pop(0), ANSWERED, now_s))
    calm = max(waited_s for _, waited_s in served[1, Priority.INTERACTIVE])
    assert calm < 5.0, "a calm tenant waited for a greedy one"
    for tenant in (0, 1):
        times = [at_s for at_s, _ in served[tenant, Priority.BATCH]]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        # Its target is a minute; from then on its turn comes again and again.
        assert max(gaps[1:]) < 15.0
        assert len(times) > 10
