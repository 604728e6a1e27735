"""What must hold after any sequence of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.scheduling.decisions import Decision, Dispatch, Reject
from router.scheduling.fleet import Attempt
from router.scheduling.policies.late_binding import OVERCOMMIT_CREDIT
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket

SLOTS = {"a": 1, "b": 2, "c": 4}
SPEEDS_MS = {"a": 20.0, "b": 100.0, "c": 400.0}
QUEUE_MAX = 5


class SchedulerMachine(RuleBasedStateMachine):
    """Random arrivals, ends, cancellations and time; a model of what must be true beside it."""

    def __init__(self) -> None:
        super().__init__()
        fleet = [endpoint(n, slots=SLOTS[n], service_ms=SPEEDS_MS[n]) for n in SLOTS]
        self.scheduler = scheduler(*fleet, queue_max=QUEUE_MAX)
        self.now_s = 0.0
        self.arrived = 0
        self.waiting: dict[str, object] = {}
        self.answered: set[str] = set()
        self.running: dict[int, Attempt] = {}

    def note(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch):
                name = decision.attempt.ticket.id
                self.open_circuits_are_left_alone(decision)
                self.running[decision.attempt.id] = decision.attempt
            elif isinstance(decision, Reject):
                name = decision.ticket.id
            else:
                continue
            assert name not in self.answered, "answered twice"
            self.answered.add(name)
            self.waiting.pop(name, None)

    def open_circuits_are_left_alone(self, decision: Dispatch) -> None:
        workers = self.scheduler.fleet.workers
        others = [workers[n] for n in decision.attempt.ticket.candidates]
        if any(not w.ejection.is_open(self.now_s) and not w.ejection.consecutive_failures
               for w in others):  # fmt: skip
            assert not decision.attempt.endpoint.worker.ejection.is_open(self.now_s)

    @rule(names=st.sets(st.sampled_from("abc"), min_size=1), patience_s=st.floats(0.1, 10))
    def arrive(self, names: set[str], patience_s: float) -> None:
        self.arrived += 1
        made = ticket(f"t{self.arrived}", *sorted(names), now_s=self.now_s, patience_s=patience_s)
        self.waiting[made.id] = made
        self.note(self.scheduler.arrive(made, self.now_s))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["completed", "failed", "cancelled"]))
    def end(self, data: st.DataObject, how: str) -> None:
        attempt = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.note(getattr(self.scheduler, how)(attempt, self.now_s))

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

    @invariant()
    def no_ticket_is_lost(self) -> None:
        assert self.scheduler.waiting == len(self.waiting)
        assert len(self.answered) + len(self.waiting) == self.arrived

    @invariant()
    def limits_hold(self) -> None:
        assert self.scheduler.waiting <= QUEUE_MAX
        for worker in self.scheduler.fleet.workers.values():
            assert len(worker.inflight) <= worker.slots + OVERCOMMIT_CREDIT

    @invariant()
    def slots_are_held_by_what_runs_and_nothing_else(self) -> None:
        held = {i for w in self.scheduler.fleet.workers.values() for i in w.inflight}
        assert held == set(self.running)

    def teardown(self) -> None:
        """Everything ends: the queue drains and every slot is free."""
        while self.running or self.waiting:
            if self.running:
                _, attempt = self.running.popitem()
                self.now_s += 0.01
                self.note(self.scheduler.completed(attempt, self.now_s))
            else:
                self.now_s += 10
                self.note(self.scheduler.tick(self.now_s))
        assert self.scheduler.waiting == 0
        assert all(w.free_slots == w.slots for w in self.scheduler.fleet.workers.values())


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
