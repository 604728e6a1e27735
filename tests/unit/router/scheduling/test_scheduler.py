"""Where tickets go, and when."""

import pytest

from router.domain.request import Priority
from router.scheduling.attempts.endings import ANSWERED, BUSY, FAILED, GIVEN_UP
from router.scheduling.decisions import Dispatch, Eject, Reject, RejectReason
from router.scheduling.fleet.ejection import PAUSE_S
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import dispatched, endpoint, place, scheduler, ticket


def refused(made: Scheduler, *args: str, **more: object) -> Reject:
    (decision,) = made.arrive(ticket(*args, **more), 0.0)  # type: ignore[arg-type]
    assert isinstance(decision, Reject)
    return decision


def test_the_faster_of_two_free_workers_is_chosen() -> None:
    made = scheduler(endpoint("slow", service_ms=400), endpoint("fast", service_ms=40))
    assert dispatched(made.arrive(ticket("t", "slow", "fast"), 0.0)) == ["fast"]


def test_a_ticket_waits_for_a_fast_worker_rather_than_take_a_much_slower_one() -> None:
    made = scheduler(endpoint("slow", service_ms=10_000), endpoint("fast", service_ms=40))
    first = place(made, "a", "slow", "fast")
    second = place(made, "b", "slow", "fast")  # The credit of one beyond the limit.
    assert made.arrive(ticket("c", "slow", "fast"), 0.0) == []
    assert made.waiting == 1
    assert dispatched(made.ended(first, ANSWERED, 0.04)) == ["fast"]
    assert made.waiting == 0
    assert second.run.started_s == 0.04


def test_a_somewhat_slower_worker_is_taken_when_the_fast_one_is_full() -> None:
    made = scheduler(endpoint("slow", service_ms=60), endpoint("fast", service_ms=40))
    place(made, "a", "slow", "fast")
    assert dispatched(made.arrive(ticket("b", "slow", "fast"), 0.0)) == ["slow"]


def test_large_work_waits_for_the_fast_worker_where_small_work_takes_the_slow_one() -> None:
    def full() -> Scheduler:
        made = scheduler(endpoint("slow", slots=9, service_ms=200), endpoint("fast", service_ms=40))
        for name in "ab":
            place(made, name, "fast")
        return made

    assert dispatched(full().arrive(ticket("s", "slow", "fast", work=0.2), 0.0)) == ["slow"]
    large = full()
    assert large.arrive(ticket("l", "slow", "fast", work=5.0), 0.0) == []
    assert large.waiting == 1


def test_a_hung_worker_loses_its_appeal_before_anything_fails() -> None:
    made = scheduler(endpoint("hung", slots=8, service_ms=40), endpoint("ok", service_ms=100))
    place(made, "a", "hung", "ok")
    assert dispatched(made.arrive(ticket("b", "hung", "ok"), 0.01)) == ["hung"]
    assert dispatched(made.arrive(ticket("c", "hung", "ok"), 1.0)) == ["ok"]


def test_what_was_learned_survives_a_new_catalog() -> None:
    made = scheduler(endpoint("a", service_ms=100))
    made.ended(place(made, "t", "a"), ANSWERED, 0.5)
    learned = made.fleet.endpoints["a"].estimate.seconds
    assert 0.1 < learned < 0.5
    made.apply([endpoint("a", service_ms=100), endpoint("b")], 1.0)
    assert made.fleet.endpoints["a"].estimate.seconds == learned


@pytest.mark.parametrize(("benchmarked_ms", "goes_to"), [(10, "a"), (0, "b"), (100, "b")])
def test_a_new_benchmark_has_a_worker_that_was_slow_tried_again(
    benchmarked_ms: float, goes_to: str
) -> None:
    """Nothing is sent there, so that nothing else could tell that it was mended."""
    made = scheduler(endpoint("a", service_ms=100), endpoint("b", service_ms=50))
    for n in range(30):
        made.ended(place(made, str(n), "a", now_s=float(n)), ANSWERED, n + 0.1)
        made.ended(place(made, str(n), "b", now_s=float(n)), ANSWERED, n + 0.05)
    made.apply([endpoint("a", service_ms=benchmarked_ms), endpoint("b", service_ms=50)], 40.0)
    assert dispatched(made.arrive(ticket("u", "a", "b"), 40.0)) == [goes_to]


def test_calls_soon_outweigh_a_benchmark_that_is_wrong() -> None:
    made = scheduler(endpoint("a", service_ms=100))
    for n in range(30):
        made.ended(place(made, str(n), "a", now_s=float(n)), ANSWERED, n + 0.1)
    made.apply([endpoint("a", service_ms=1_000)], 40.0)
    believed_s = []
    for n in range(40, 60):
        believed_s.append(made.fleet.endpoints["a"].estimate.seconds)
        made.ended(place(made, str(n), "a", now_s=float(n)), ANSWERED, n + 0.1)
    assert believed_s[0] > 0.3
    assert believed_s[-1] < 0.2


def test_a_new_worker_is_expected_to_be_like_the_others_of_its_deployment() -> None:
    made = scheduler(endpoint("a", service_ms=0, deployment=7))
    for n in range(20):
        made.ended(place(made, str(n), "a", now_s=float(n)), ANSWERED, n + 0.3)
    made.apply([endpoint(name, service_ms=0, deployment=7) for name in ("a", "b")], 30.0)
    assert made.fleet.endpoints["b"].estimate.seconds == pytest.approx(0.3, rel=0.01)


def test_a_worker_that_leaves_the_catalog_gets_nothing_and_its_work_ends_quietly() -> None:
    made = scheduler(endpoint("a"), endpoint("b", service_ms=900))
    attempt = place(made, "t", "a", "b")
    made.apply([endpoint("b", service_ms=900)], 0.1)
    assert dispatched(made.arrive(ticket("u", "a", "b"), 0.1)) == ["b"]
    assert made.ended(attempt, ANSWERED, 0.2) == []


def test_what_waits_is_not_sent_to_a_worker_that_has_left_meanwhile() -> None:
    made = scheduler(endpoint("a"), endpoint("b", service_ms=9_000))
    first = place(made, "t", "a")
    place(made, "u", "a")
    assert made.arrive(ticket("v", "a", "b"), 0.0) == []
    assert dispatched(made.apply([endpoint("b", service_ms=9_000)], 0.01)) == ["b"]
    assert made.ended(first, ANSWERED, 0.1) == []


def test_a_worker_that_comes_back_still_has_what_it_runs_and_what_it_was_seen_to_do() -> None:
    fleet = [endpoint("a", slots=2), endpoint("b")]
    made = scheduler(*fleet)
    made.ended(place(made, "s", "a"), ANSWERED, 0.5)
    learned = made.fleet.endpoints["a"].estimate.seconds
    attempt = place(made, "t", "a", now_s=1.0)
    for catalog in (fleet[1:], fleet[1:], fleet):
        made.apply(catalog, 1.1)
    assert list(made.fleet.workers["a"].inflight.values()) == [attempt]
    assert made.fleet.endpoints["a"].estimate.seconds == learned
    made.ended(attempt, ANSWERED, 1.5)
    assert made.fleet.workers["a"].free_slots == 2


def test_fewer_slots_are_used_while_others_hold_a_lease_on_the_rest() -> None:
    made = scheduler(endpoint("a", slots=4))
    made.lease({"a": 1}, 0.0)
    for name in "xy":
        place(made, name, "a")
    assert made.arrive(ticket("z", "a"), 0.0) == []
    made.lease({"a": 0}, 0.0)
    assert made.arrive(ticket("w", "a"), 0.1) == []
    assert sorted(dispatched(made.lease({"a": 4}, 0.2))) == ["a", "a"]
    assert made.fleet.workers["a"].slots == 4


def test_with_every_circuit_open_a_try_is_still_made() -> None:
    made = scheduler(endpoint("only"))
    for name in "ab":
        made.ended(place(made, name, "only"), FAILED, 0.0)
    assert dispatched(made.arrive(ticket("c", "only"), 0.1)) == ["only"]


def test_two_failures_in_a_row_eject_a_worker_for_a_moment() -> None:
    made = scheduler(endpoint("bad", service_ms=10), endpoint("good", service_ms=500))
    assert made.ended(place(made, "a", "bad", "good"), FAILED, 0.0) == []
    assert made.ended(place(made, "b", "bad", "good"), FAILED, 0.0) == [Eject("bad", PAUSE_S)]
    assert dispatched(made.arrive(ticket("c", "bad", "good"), 0.9 * PAUSE_S)) == ["good"]


def test_a_ticket_never_returns_to_a_worker_that_failed_it() -> None:
    made = scheduler(endpoint("a", service_ms=1), endpoint("b", service_ms=900))
    retry = ticket("t", "a", "b", excluded=frozenset({"a"}))
    assert dispatched(made.arrive(retry, 0.0)) == ["b"]
    decision = refused(made, "u", "a", excluded=frozenset({"a"}))
    assert decision.reason is RejectReason.NOTHING_ELIGIBLE


def test_a_worker_that_declines_is_not_blamed() -> None:
    made = scheduler(endpoint("a"), endpoint("b", service_ms=900))
    for name in "xyz":
        assert made.ended(place(made, name, "a", "b"), BUSY, 0.0) == []
    assert dispatched(made.arrive(ticket("t", "a", "b"), 0.0)) == ["a"]


def test_a_worker_that_asks_to_be_left_alone_is_and_then_is_used_again() -> None:
    made = scheduler(endpoint("full", slots=2, service_ms=10), endpoint("slow", service_ms=400))
    made.ended(place(made, "a", "full", "slow"), BUSY, 0.0, rest_s=5.0)
    assert not made.fleet.workers["full"].ejection.is_ejected
    slow = place(made, "b", "full", "slow")
    assert slow.endpoint.id == "slow"
    assert made.arrive(ticket("c", "full"), 1.0) == []
    assert dispatched(made.tick(4.9)) == []
    assert dispatched(made.tick(5.01)) == ["full"]


def test_a_full_queue_refuses_and_says_when_to_return() -> None:
    made = scheduler(endpoint("a", service_ms=1000), queue_max=2)
    for name in "abcd":
        made.arrive(ticket(name, "a"), 0.0)
    assert made.waiting == 2
    decision = refused(made, "e", "a")
    assert decision.reason is RejectReason.QUEUE_FULL
    assert decision.retry_after_s == pytest.approx(2.0)


def test_a_request_that_would_miss_its_deadline_is_refused_at_once() -> None:
    made = scheduler(endpoint("a", service_ms=1000))
    for name in "abcd":
        made.arrive(ticket(name, "a", deadline_s=2.5), 0.0)
    decision = refused(made, "e", "a", deadline_s=2.5)
    assert decision.reason is RejectReason.DEADLINE
    # Two units ahead and one of its own are three seconds: half a second too late.
    assert decision.retry_after_s == pytest.approx(0.5)
    assert made.waiting == 2
    assert made.arrive(ticket("f", "a", deadline_s=3.5), 0.0) == []


def test_a_ticket_that_waited_too_long_is_refused() -> None:
    made = scheduler(endpoint("a", service_ms=1000))
    first = place(made, "a", "a")
    place(made, "b", "a")
    made.arrive(ticket("c", "a", patience_s=2.5), 0.0)
    assert made.tick(2.4) == []
    (late,) = made.tick(2.5)
    assert isinstance(late, Reject)
    assert late.reason is RejectReason.EXPIRED
    assert made.ended(first, ANSWERED, 2.6) == []


def test_a_withdrawn_ticket_is_forgotten() -> None:
    made = scheduler(endpoint("a"))
    first = place(made, "a", "a")
    place(made, "b", "a")
    waiting = ticket("c", "a")
    made.arrive(waiting, 0.0)
    made.withdrawn(waiting)
    assert made.ended(first, ANSWERED, 0.1) == []


def test_a_slot_is_given_back_once_however_often_its_end_is_told() -> None:
    made = scheduler(endpoint("a", slots=3))
    attempt = place(made, "t", "a")
    made.ended(attempt, ANSWERED, 0.1)
    made.ended(attempt, FAILED, 0.2)
    made.ended(attempt, BUSY, 0.2)
    made.ended(attempt, GIVEN_UP, 0.3)
    assert made.fleet.workers["a"].free_slots == 3
    assert made.fleet.endpoints["a"].estimate.samples == 1


def test_the_decision_says_how_every_candidate_looked() -> None:
    made = scheduler(endpoint("a", service_ms=40), endpoint("b", service_ms=80))
    (decision,) = made.arrive(ticket("t", "a", "b"), 0.0)
    assert isinstance(decision, Dispatch)
    seen = {item.endpoint_id: (item.wait_s, item.service_s) for item in decision.considered}
    assert seen == {"a": (0.0, pytest.approx(0.04)), "b": (0.0, pytest.approx(0.08))}


def test_interactive_requests_go_before_batch_requests() -> None:
    made = scheduler(endpoint("a", service_ms=100))
    running = [place(made, name, "a") for name in "xy"]
    made.arrive(ticket("batch", "a", priority=Priority.BATCH), 0.0)
    made.arrive(ticket("person", "a", priority=Priority.INTERACTIVE), 0.01)
    (decision,) = made.ended(running[0], ANSWERED, 0.1)
    assert isinstance(decision, Dispatch)
    assert decision.attempt.ticket.id == "person"


def test_a_batching_engine_is_filled_only_as_far_as_its_curve_makes_sense() -> None:
    curve = ((2, 3.0), (4, 9.0))
    made = scheduler(
        endpoint("batches", slots=4, service_ms=50, batch_curve=curve),
        endpoint("alone", slots=4, service_ms=120),
    )
    went = [dispatched(made.arrive(ticket(str(n), "batches", "alone"), 0.0))[0] for n in range(3)]
    assert went == ["batches", "alone", "alone"]
