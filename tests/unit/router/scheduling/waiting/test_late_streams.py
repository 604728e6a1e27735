"""Which streams are answered, and what others get, when engines cannot serve them all."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.request import Priority, Sort
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Dispatch, Reject, RejectReason
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket, Used
from router.scheduling.waiting.queue import FRESH_S, LATE_TURNS, Queue, QueuedTicket
from router.scheduling.waiting.turn import URGENT_S, who_cannot_wait
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket

FLEET = Fleet()
FLEET.apply([endpoint("a"), endpoint("b")])
A = FLEET.endpoints["a"]
SLATE = FLEET.slate(("a", "b"))
ANSWER = 20


def stream(name: str, now_s: float = 0.0, **more: object) -> Ticket:
    return ticket(
        name,
        "a",
        now_s=now_s,
        streams=True,
        prompt_bytes=2_000,
        prompt_tokens=500.0,
        answer_tokens=float(ANSWER),
        **more,  # type: ignore[arg-type]
    )


def add(queue: Queue, name: str, now_s: float = 0.0, **more: object) -> QueuedTicket:
    return queue.add(stream(name, now_s, **more), SLATE)


def names(queue: Queue, now_s: float) -> list[str]:
    return [item.ticket.id for item in queue.in_order(now_s)]


# The order


def test_streams_are_served_as_they_came_while_all_can_be_on_time() -> None:
    queue = Queue()
    for number, name in enumerate("abc"):
        add(queue, name, 0.1 * number)
    assert names(queue, FRESH_S - 0.01) == ["a", "b", "c"]


def test_a_stream_that_can_still_be_on_time_goes_before_those_that_cannot() -> None:
    queue = Queue()
    add(queue, "late")
    add(queue, "later", 0.1)
    add(queue, "fresh", FRESH_S)
    assert names(queue, FRESH_S + 0.2) == ["fresh", "late", "later"]


def test_batch_work_yields_and_does_not_starve() -> None:
    queue = Queue()
    add(queue, "batch", priority=Priority.BATCH)
    add(queue, "late", 1.0)
    add(queue, "fresh", 2.0)
    assert names(queue, 2.1) == ["fresh", "late", "batch"]
    add(queue, "late too", 80.0)
    assert names(queue, 90.0)[-2:] == ["batch", "late too"]


def test_a_stream_with_its_own_deadline_is_never_late_by_this_measure() -> None:
    queue = Queue()
    add(queue, "late", 0.5)
    add(queue, "patient", deadline_s=30.0)
    add(queue, "fresh", 1.0)
    assert names(queue, 1.1) == ["patient", "fresh", "late"]


def test_a_ticket_that_is_not_streamed_is_never_late() -> None:
    queue = Queue()
    for number in range(3):
        queue.add(ticket(str(number), "a", now_s=5.0 * number), SLATE)
    assert names(queue, 60.0) == ["0", "1", "2"]


@given(arriving=st.integers(1, 3), turns=st.integers(40, 120))
def test_late_streams_get_at_least_every_twentieth_turn(arriving: int, turns: int) -> None:
    queue, now_s, late_turns = Queue(), 100.0, []
    for number in range(40):
        add(queue, f"late{number}", 0.01 * number)
    for turn in range(turns):
        now_s += 0.01
        for number in range(arriving):
            add(queue, f"fresh{turn}-{number}", now_s)
        first = next(queue.in_order(now_s))
        if first.late_s <= now_s:
            late_turns.append(turn)
        queue.remove(first.ticket, now_s)
    assert late_turns
    assert all(after - before <= LATE_TURNS for before, after in pairwise([-1, *late_turns]))


def test_one_tenants_late_streams_do_not_hold_up_anothers() -> None:
    queue = Queue()
    for number in range(20):
        add(queue, f"noisy{number}", tenant=1)
    add(queue, "calm", 5.0, tenant=2)
    assert names(queue, 5.1).index("calm") <= 1


# A place that others leave


def cannot_wait(queued: QueuedTicket, before: list[QueuedTicket], now_s: float) -> list[str]:
    return [other.ticket.id for other in who_cannot_wait(queued, before, A, now_s)]


def test_a_place_found_for_a_late_stream_may_go_to_one_that_can_still_be_on_time() -> None:
    queue = Queue()
    late, fresh, new = add(queue, "late"), add(queue, "fresh", 0.5), add(queue, "new", 0.7)
    now_s = 0.5 + URGENT_S
    assert cannot_wait(late, [fresh, new], now_s) == ["fresh"], "the new one may wait for better"
    assert cannot_wait(new, [fresh], now_s) == [], "it is not late itself"


def test_a_tenant_is_not_passed_by_another_ones_stream() -> None:
    queue = Queue()
    calm, noisy = add(queue, "calm", tenant=2), add(queue, "noisy", 0.1, tenant=1)
    assert cannot_wait(noisy, [calm], URGENT_S) == ["calm"]
    queue.remove(calm.ticket)
    assert cannot_wait(noisy, [calm], URGENT_S) == [], "it has gone"


@pytest.mark.parametrize(
    "mine", [{"excluded": frozenset({"a"})}, {"sort": Sort.PRICE}, {"penalty_s": {"a": 2.0}}]
)
def test_a_stream_is_not_handed_a_place_where_it_failed_or_would_not_go(
    mine: dict[str, object],
) -> None:
    queue = Queue()
    calm = add(queue, "calm", tenant=2, **mine)
    assert cannot_wait(add(queue, "noisy", tenant=1), [calm], 1.0) == []


# A router before an engine


class Engine:
    """One that takes a second for a prompt when it has others to do, and ends when it is told."""

    def __init__(self) -> None:
        self.router: Scheduler = scheduler(endpoint("a", slots=4, service_ms=0.0), queue_max=1_000)
        self.running: list[Attempt] = []
        self.sent: list[Attempt] = []
        self.rejected: list[Reject] = []

    def ask(self, one: Ticket) -> None:
        self.note(self.router.arrive(one, one.arrived_s))

    def note(self, decisions: list[object]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch):
                self.running.append(decision.attempt)
                self.sent.append(decision.attempt)
            elif isinstance(decision, Reject):
                self.rejected.append(decision)

    def answer(self, now_s: float) -> Ticket:
        """The first of what runs has its whole answer."""
        attempt = self.running.pop(0)
        self.note(list(self.router.first_byte(attempt, now_s)))
        attempt.heard(ANSWER, now_s)
        self.note(list(self.router.ended(attempt, ANSWERED, now_s, Used(500, 0, ANSWER))))
        return attempt.ticket


def overloaded(*, patience_s: float = 1e9) -> tuple[Engine, float]:
    """One that has been asked for twice what it can for a while, and when that was."""
    engine, now_s = Engine(), 0.0
    for number in range(400):
        now_s += 0.05
        engine.ask(stream(f"s{number}", now_s, patience_s=patience_s))
        if number % 2 and engine.running:
            engine.answer(now_s)
    return engine, now_s


def test_at_twice_its_capacity_an_engine_serves_nearly_all_that_it_serves_on_time() -> None:
    engine, now_s = overloaded()
    assert engine.router.waiting > 100
    sent = len(engine.sent)
    for number in range(200):
        now_s += 0.05
        engine.ask(stream(f"t{number}", now_s))
        if number % 2:
            engine.answer(now_s)
    on_time = [
        message.dispatched_s < message.ticket.arrived_s + FRESH_S for message in engine.sent[sent:]
    ]
    assert len(on_time) >= 90
    assert sum(on_time) / len(on_time) == pytest.approx(1 - 1 / LATE_TURNS, abs=0.02)


def test_a_stream_that_would_wait_too_long_is_refused_at_once_with_a_time_to_retry() -> None:
    engine, now_s = overloaded(patience_s=5.0)
    at_once = [item for item in engine.rejected if item.reason is RejectReason.EXPIRED]
    assert at_once
    assert all(item.retry_after_s > 0 for item in at_once)
    waited = engine.router.waiting
    assert waited < 100, "what would wait in vain does not"
    for _ in range(200):
        if not engine.running:
            break
        now_s += 0.1
        engine.answer(now_s)
    engine.ask(stream("again", now_s, patience_s=5.0))
    assert "again" not in {item.ticket.id for item in engine.rejected}


def test_a_calm_tenants_stream_is_not_refused_for_those_of_a_noisy_one() -> None:
    engine, now_s = overloaded(patience_s=5.0)
    before = len(engine.rejected)
    engine.ask(stream("calm", now_s + 0.01, tenant=7, patience_s=5.0))
    assert len(engine.rejected) == before
