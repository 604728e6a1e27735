"""Refusing early, and saying truthfully when to come back."""

import pytest

from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Reject, RejectReason
from router.scheduling.fleet.fleet import drain_hz
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.scheduler import Scheduler
from router.scheduling.waiting.admission import lateness_s, may_wait, wait_s
from tests.unit.router.scheduling.fleets import dispatched, endpoint, place, scheduler, ticket


def full(*names: str, service_ms: float = 1000.0) -> Scheduler:
    made = scheduler(*(endpoint(name, service_ms=service_ms) for name in names))
    for name in names:
        for number in range(2):
            place(made, f"{name}{number}", name)
    return made


def states(made: Scheduler) -> list[EndpointState]:
    return list(made.fleet.endpoints.values())


def test_the_wait_is_0_while_any_worker_has_room() -> None:
    made = full("a")
    made.apply([endpoint("a", service_ms=1000), endpoint("b", service_ms=9000)], 0.0)
    assert wait_s(50.0, drain_hz(states(made))) == 0.0


def test_the_wait_is_the_work_ahead_over_what_all_can_do_together() -> None:
    assert wait_s(6.0, drain_hz(states(full("a")))) == pytest.approx(6.0)
    assert wait_s(6.0, drain_hz(states(full("a", "b", "c")))) == pytest.approx(2.0)


def test_the_wait_is_0_if_no_slot_is_leased() -> None:
    made = scheduler(endpoint("a"))
    made.lease({"a": 0}, 0.0)
    assert wait_s(6.0, drain_hz(states(made))) == 0.0


def test_lateness_is_that_of_the_fastest_and_0_while_one_has_time() -> None:
    made = scheduler(endpoint("slow", service_ms=4000), endpoint("fast", service_ms=500))
    assert lateness_s(2.0, 4.0, 1.0, states(made), now_s=0.5) == 0.0
    assert lateness_s(2.0, 2.0, 1.0, states(made), now_s=0.5) == pytest.approx(0.5)


def test_a_request_that_returns_after_retry_after_is_admitted() -> None:
    made = full("a")
    made.arrive(ticket("c", "a", deadline_s=1.5), 0.0)
    (early,) = made.arrive(ticket("e", "a", deadline_s=1.5), 0.0)
    assert isinstance(early, Reject)
    assert early.reason is RejectReason.DEADLINE
    now_s = early.retry_after_s
    for attempt in list(made.fleet.workers["a"].inflight.values()):
        made.ended(attempt, ANSWERED, now_s)
    again = ticket("e2", "a", now_s=now_s, deadline_s=now_s + 1.5)
    assert not [d for d in made.arrive(again, now_s) if isinstance(d, Reject)]


def test_a_request_may_wait_for_an_answer_that_takes_longer_than_its_wait() -> None:
    made = full("a", service_ms=40_000)
    assert made.arrive(ticket("t", "a", patience_s=30), 0.0) == []
    (late,) = made.arrive(ticket("u", "a", patience_s=30), 0.0)
    assert isinstance(late, Reject)
    assert late.reason is RejectReason.EXPIRED
    assert late.retry_after_s == pytest.approx(10)


def test_a_deadline_that_passes_in_the_queue_is_told_as_that() -> None:
    made = full("a")
    made.arrive(ticket("t", "a", deadline_s=1.2), 0.0)
    assert made.tick(1.19) == []
    (late,) = made.tick(1.2)
    assert isinstance(late, Reject)
    assert late.reason is RejectReason.DEADLINE
    assert made.waiting == 0


def test_a_request_is_not_refused_while_a_worker_is_free_and_there_is_time() -> None:
    made = scheduler(endpoint("a", service_ms=100))
    assert dispatched(made.arrive(ticket("t", "a", deadline_s=0.11), 0.0)) == ["a"]


def test_what_is_ahead_is_counted_in_work_not_in_requests() -> None:
    made = full("a")
    made.arrive(ticket("t", "a", work=7.0), 0.0)
    assert made.arrive(ticket("u", "a", deadline_s=8.5), 0.0) == []
    (late,) = made.arrive(ticket("v", "a", deadline_s=8.5), 0.0)
    assert isinstance(late, Reject)
    assert late.retry_after_s == pytest.approx(0.5)


def test_a_queue_full_of_one_tenants_calls_has_room_for_another() -> None:
    made = scheduler(endpoint("a", service_ms=10), queue_max=50)
    for number in range(200):
        made.arrive(ticket(f"noisy{number}", "a", tenant=1), 0.0)
    assert made.waiting == 40
    assert made.arrive(ticket("calm", "a", tenant=2), 0.0) == []
    assert made.waiting == 41


def test_a_queue_is_never_fuller_than_full() -> None:
    waiting = 0
    while may_wait(0, waiting, 50):
        waiting += 1
    assert waiting == 50


def test_a_calm_tenant_is_not_refused_for_the_work_of_a_noisy_one() -> None:
    made = full("a")
    for number in range(20):
        made.arrive(ticket(f"noisy{number}", "a", tenant=1), 0.0)
    in_time = ticket("calm", "a", tenant=2, deadline_s=2.5)
    assert made.arrive(in_time, 0.0) == [], "one of the other's may go first, no more"
    (late,) = made.arrive(ticket("late", "a", tenant=2, deadline_s=2.5), 0.0)
    assert isinstance(late, Reject)
