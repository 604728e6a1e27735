"""What must hold after any sequence of events."""

from collections import Counter
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.domain.request import Priority
from router.scheduling.decisions import Cancel, Decision, Dispatch, Eject, Hedge, Probe, Reject
from router.scheduling.fleet import Attempt
from router.scheduling.ticket import Ticket
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket

SLOTS = {"a": 1, "b": 2, "c": 4}
SPEEDS_MS = {"a": 20.0, "b": 100.0, "c": 400.0}
QUEUE_MAX = 5
EXPIRY_S = 1e6


class SchedulerMachine(RuleBasedStateMachine):
    """Random arrivals, ends, cancellations and time; a model of what must be true beside it."""

    def __init__(self) -> None:
        super().__init__()
        fleet = [endpoint(n, slots=SLOTS[n], service_ms=SPEEDS_MS[n]) for n in SLOTS]
        self.scheduler = scheduler(*fleet, queue_max=QUEUE_MAX)
        self.now_s = 0.0
        self.arrived = 0
        self.waiting: dict[str, Ticket] = {}
        self.answered: set[str] = set()
        self.running: dict[int, Attempt] = {}

    def note(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch):
                self.ejected_ones_are_left_alone(decision)
                self.answer(decision.attempt.ticket.id)
                self.run(decision.attempt)
            elif isinstance(decision, Hedge):
                assert decision.of.id in self.running
                assert decision.of.endpoint.worker is not decision.attempt.endpoint.worker
                assert not decision.attempt.endpoint.worker.ejection.is_ejected
                self.run(decision.attempt)
            elif isinstance(decision, Probe):
                assert decision.attempt.is_probe
                self.run(decision.attempt)
            elif isinstance(decision, Cancel):
                del self.running[decision.attempt.id]
            elif isinstance(decision, Reject):
                assert decision.retry_after_s > 0
                self.answer(decision.ticket.id)
            else:
                assert isinstance(decision, Eject)

    def answer(self, name: str) -> None:
        assert name not in self.answered, "answered twice"
        self.answered.add(name)
        self.waiting.pop(name, None)

    def run(self, attempt: Attempt) -> None:
        assert attempt.id not in self.running
        self.running[attempt.id] = attempt

    def ejected_ones_are_left_alone(self, decision: Dispatch) -> None:
        made = decision.attempt.ticket
        workers = self.scheduler.fleet.workers
        others = [workers[n] for n in made.candidates if n in workers and n not in made.excluded]
        if any(not worker.ejection.is_ejected for worker in others):
            assert not decision.attempt.endpoint.worker.ejection.is_ejected

    @rule(
        names=st.sets(st.sampled_from("abc"), min_size=1),
        patience_s=st.floats(0.1, 10),
        priority=st.sampled_from(list(Priority)),
        tenant=st.integers(0, 2),
        work=st.floats(0.1, 8.0),
        has_deadline=st.booleans(),
    )
    def arrive(
        self,
        names: set[str],
        patience_s: float,
        priority: Priority,
        tenant: int,
        work: float,
        has_deadline: bool,
    ) -> None:
        self.arrived += 1
        more = {"deadline_s": self.now_s + patience_s} if has_deadline else {}
        made = ticket(
            f"t{self.arrived}",
            *sorted(names),
            now_s=self.now_s,
            patience_s=patience_s,
            priority=priority,
            tenant=tenant,
            work=work,
            **more,  # type: ignore[arg-type]
        )
        self.waiting[made.id] = made
        self.note(self.scheduler.arrive(made, self.now_s))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["completed", "failed", "declined", "cancelled"]))
    def end(self, data: st.DataObject, how: str) -> None:
        attempt = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.note(getattr(self.scheduler, how)(attempt, self.now_s))

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

    @rule(granted=st.fixed_dictionaries({name: st.integers(0, SLOTS[name]) for name in SLOTS}))
    def lease(self, granted: dict[str, int]) -> None:
        self.note(self.scheduler.lease(granted, self.now_s))

    @invariant()
    def no_ticket_is_lost(self) -> None:
        assert self.scheduler.waiting == len(self.waiting)
        assert len(self.answered) + len(self.waiting) == self.arrived

    @invariant()
    def limits_hold(self) -> None:
        assert self.scheduler.waiting <= QUEUE_MAX
        for worker in self.scheduler.fleet.workers.values():
            # A probe needs no slot: it goes to who has nothing to do, or to who is ejected.
            clients = sum(not attempt.is_probe for attempt in worker.inflight.values())
            if not worker.ejection.is_ejected:
                assert clients <= SLOTS[worker.id] + worker.credit

    @invariant()
    def slots_are_held_by_what_runs_and_nothing_else(self) -> None:
        held = {i for w in self.scheduler.fleet.workers.values() for i in w.inflight}
        assert held == set(self.running)

    @invariant()
    def nothing_runs_twice_but_a_hedge(self) -> None:
        runs = Counter(a.ticket.id for a in self.running.values())
        for attempt in self.running.values():
            pair = attempt.twin is not None and attempt.twin.id in self.running
            assert runs[attempt.ticket.id] == (2 if pair else 1)

    def teardown(self) -> None:
        """Everything ends: the queue drains and every slot is free."""
        self.note(self.scheduler.lease({}, self.now_s))
        while self.running or self.waiting:
            self.now_s += 0.05
            if self.running:
                _, attempt = self.running.popitem()
                self.note(self.scheduler.completed(attempt, self.now_s))
            self.note(self.scheduler.tick(self.now_s))
            assert self.now_s < EXPIRY_S, "it does not drain"
        assert self.scheduler.waiting == 0
        assert all(not w.inflight for w in self.scheduler.fleet.workers.values())


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_nobody_starves_in_a_long_overload() -> None:
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

    for number in range(6_000):
        now_s += 0.04  # Half as much again as the worker can do.
        priority = Priority.BATCH if number % 25 == 0 else Priority.INTERACTIVE
        tenant = int(number % 11 == 0)
        keep(
            made.arrive(
                ticket(str(number), "a", now_s=now_s, tenant=tenant, priority=priority), now_s
            )
        )
        while running and now_s - running[0].started_s >= 0.1 and not running[0].waiting:
            keep(made.completed(running.pop(0), now_s))
    calm = max(waited_s for _, waited_s in served[1, Priority.INTERACTIVE])
    assert calm < 5.0, "a calm tenant waited for a greedy one"
    for tenant in (0, 1):
        times = [at_s for at_s, _ in served[tenant, Priority.BATCH]]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        # Its target is a minute; from then on its turn comes again and again.
        assert max(gaps[1:]) < 15.0
        assert len(times) > 10
