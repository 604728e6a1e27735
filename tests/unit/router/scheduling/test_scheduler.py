"""Where tickets go, and when."""

import pytest

from router.scheduling.decisions import Dispatch, Eject, Reject, RejectReason
from router.scheduling.fleet import Attempt
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import dispatched, endpoint, scheduler, ticket


def place(made: Scheduler, name: str, *candidates: str, now_s: float = 0.0) -> Attempt:
    (decision,) = made.arrive(ticket(name, *candidates, now_s=now_s), now_s)
    assert isinstance(decision, Dispatch)
    return decision.attempt


def test_the_faster_of_two_free_workers_is_chosen() -> None:
    made = scheduler(endpoint("slow", service_ms=400), endpoint("fast", service_ms=40))
    assert dispatched(made.arrive(ticket("t", "slow", "fast"), 0.0)) == ["fast"]


def test_a_ticket_waits_for_a_fast_worker_rather_than_take_a_much_slower_one() -> None:
    made = scheduler(endpoint("slow", service_ms=10_000), endpoint("fast", service_ms=40))
    first = place(made, "a", "slow", "fast")
    second = place(made, "b", "slow", "fast")  # The credit of one beyond the limit.
    assert made.arrive(ticket("c", "slow", "fast"), 0.0) == []
    assert made.waiting == 1
    assert dispatched(made.completed(first, 0.04)) == ["fast"]
    assert made.waiting == 0
    assert second.started_s == 0.04


def test_a_somewhat_slower_worker_is_taken_when_the_fast_one_is_full() -> None:
    made = scheduler(endpoint("slow", service_ms=60), endpoint("fast", service_ms=40))
    place(made, "a", "slow", "fast")
    assert dispatched(made.arrive(ticket("b", "slow", "fast"), 0.0)) == ["slow"]


def test_a_hung_worker_loses_its_appeal_before_anything_fails() -> None:
    made = scheduler(endpoint("hung", slots=8, service_ms=40), endpoint("ok", service_ms=100))
    place(made, "a", "hung", "ok")
    assert dispatched(made.arrive(ticket("b", "hung", "ok"), 0.01)) == ["hung"]
    assert dispatched(made.arrive(ticket("c", "hung", "ok"), 1.0)) == ["ok"]


def test_what_was_learned_survives_a_new_catalog() -> None:
    made = scheduler(endpoint("a", service_ms=100))
    attempt = place(made, "t", "a")
    made.completed(attempt, 0.5)
    learned = made.fleet.endpoints["a"].estimate.seconds
    made.apply([endpoint("a", service_ms=100), endpoint("b")], 1.0)
    assert made.fleet.endpoints["a"].estimate.seconds == learned == pytest.approx(0.5)


def test_a_worker_that_leaves_the_catalog_gets_nothing_and_its_work_ends_quietly() -> None:
    made = scheduler(endpoint("a"), endpoint("b", service_ms=900))
    attempt = place(made, "t", "a", "b")
    made.apply([endpoint("b", service_ms=900)], 0.1)
    assert dispatched(made.arrive(ticket("u", "a", "b"), 0.1)) == ["b"]
    assert made.completed(attempt, 0.2) == []


def test_two_failures_in_a_row_eject_a_worker_for_a_second() -> None:
    made = scheduler(endpoint("bad", service_ms=10), endpoint("good", service_ms=500))
    assert made.failed(place(made, "a", "bad", "good"), 0.0) == []
    assert made.failed(place(made, "b", "bad", "good"), 0.0) == [Eject("bad", 1.0)]
    assert dispatched(made.arrive(ticket("c", "bad", "good"), 0.5)) == ["good"]


def test_after_its_pause_an_ejected_worker_gets_one_try_at_a_time() -> None:
    made = scheduler(endpoint("bad", slots=4, service_ms=10), endpoint("good", service_ms=500))
    for name in "ab":
        made.failed(place(made, name, "bad", "good"), 0.0)
    probe = place(made, "probe", "bad", "good", now_s=1.1)
    assert probe.endpoint.worker.id == "bad"
    assert dispatched(made.arrive(ticket("c", "bad", "good"), 1.1)) == ["good"]
    made.completed(probe, 1.2)
    assert dispatched(made.arrive(ticket("d", "bad", "good"), 1.2)) == ["bad"]


def test_a_pause_doubles_while_failures_go_on() -> None:
    made = scheduler(endpoint("bad"))
    pauses = []
    now_s = 0.0
    for name in "abcd":
        decisions = made.failed(place(made, name, "bad", now_s=now_s), now_s)
        pauses += [d.until_s - now_s for d in decisions if isinstance(d, Eject)]
        now_s += 100
    assert pauses == [1.0, 2.0, 4.0]


def test_with_every_circuit_open_a_try_is_still_made() -> None:
    made = scheduler(endpoint("only"))
    for name in "ab":
        made.failed(place(made, name, "only"), 0.0)
    assert dispatched(made.arrive(ticket("c", "only"), 0.1)) == ["only"]


def test_a_ticket_never_returns_to_a_worker_that_failed_it() -> None:
    made = scheduler(endpoint("a", service_ms=1), endpoint("b", service_ms=900))
    retry = ticket("t", "a", "b", excluded=frozenset({"a"}))
    assert dispatched(made.arrive(retry, 0.0)) == ["b"]
    (refused,) = made.arrive(ticket("u", "a", excluded=frozenset({"a"})), 0.0)
    assert isinstance(refused, Reject)
    assert refused.reason is RejectReason.NOTHING_ELIGIBLE


def test_a_full_queue_refuses_and_says_when_to_return() -> None:
    made = scheduler(endpoint("a", service_ms=1000), queue_max=2)
    for name in "abcd":
        made.arrive(ticket(name, "a"), 0.0)
    assert made.waiting == 2
    (refused,) = made.arrive(ticket("e", "a"), 0.0)
    assert isinstance(refused, Reject)
    assert refused.reason is RejectReason.QUEUE_FULL
    assert refused.retry_after_s == pytest.approx(2.0)


def test_a_ticket_that_waited_too_long_is_refused() -> None:
    made = scheduler(endpoint("a", service_ms=1000))
    for name in "ab":
        place(made, name, "a")
    made.arrive(ticket("c", "a", patience_s=0.5), 0.0)
    assert made.tick(0.4) == []
    (refused,) = made.tick(0.5)
    assert isinstance(refused, Reject)
    assert refused.reason is RejectReason.EXPIRED


def test_a_withdrawn_ticket_is_forgotten() -> None:
    made = scheduler(endpoint("a"))
    first = place(made, "a", "a")
    place(made, "b", "a")
    waiting = ticket("c", "a")
    made.arrive(waiting, 0.0)
    made.withdrawn(waiting)
    assert made.completed(first, 0.1) == []


def test_a_slot_is_given_back_once_however_often_its_end_is_told() -> None:
    made = scheduler(endpoint("a", slots=3))
    attempt = place(made, "t", "a")
    made.completed(attempt, 0.1)
    made.failed(attempt, 0.2)
    made.cancelled(attempt, 0.3)
    assert made.fleet.workers["a"].free_slots == 3
    assert made.fleet.endpoints["a"].estimate.samples == 1


def test_round_robin_takes_turns_whatever_the_speed() -> None:
    made = scheduler(endpoint("a", service_ms=1), endpoint("b", service_ms=900), endpoint("c"))
    went = [
        dispatched(made.arrive(ticket(str(i), "a", "b", "c", policy="round_robin"), 0.0))[0]
        for i in range(6)
    ]
    assert went == ["a", "b", "c", "a", "b", "c"]


def test_least_outstanding_evens_out_what_is_in_flight() -> None:
    made = scheduler(endpoint("a", service_ms=1), endpoint("b", service_ms=900))
    for i in range(6):
        made.arrive(ticket(str(i), "a", "b", policy="least_outstanding"), 0.0)
    assert {w.id: len(w.inflight) for w in made.fleet.workers.values()} == {"a": 3, "b": 3}


def test_the_decision_says_how_every_candidate_looked() -> None:
    made = scheduler(endpoint("a", service_ms=40), endpoint("b", service_ms=80))
    (decision,) = made.arrive(ticket("t", "a", "b"), 0.0)
    assert isinstance(decision, Dispatch)
    seen = {one.endpoint_id: (one.wait_s, one.service_s) for one in decision.considered}
    assert seen == {"a": (0.0, pytest.approx(0.04)), "b": (0.0, pytest.approx(0.08))}
