"""Second attempts for late ones."""

import pytest

from router.domain.request import Priority
from router.scheduling.attempts.endings import ANSWERED, FAILED, GIVEN_UP
from router.scheduling.decisions import Cancel, Decision, Dispatch, Eject, Hedge
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import dispatched, endpoint, place, scheduler, ticket

SLOTS = 2


def two() -> Scheduler:
    return scheduler(
        endpoint("late", slots=SLOTS, service_ms=100), endpoint("free", slots=SLOTS, service_ms=120)
    )


def hedge_of(decisions: list[Decision]) -> Attempt:
    (hedge,) = [d for d in decisions if isinstance(d, Hedge)]
    return hedge.attempt


def test_a_late_attempt_gets_a_second_one_on_another_free_worker() -> None:
    made = two()
    first = place(made, "t", "late", "free")
    assert made.next_tick_s(0.0) is not None
    assert not [d for d in made.tick(0.29) if isinstance(d, Hedge)]
    second = hedge_of(made.tick(0.31))
    assert second.endpoint.worker.id == "free"
    assert second.ticket is first.ticket


def test_a_batchs_call_on_a_slow_worker_is_copied_once_a_fast_one_would_be_long_done() -> None:
    for priority, is_copied in ((Priority.BATCH, True), (Priority.STANDARD, False)):
        made = scheduler(
            endpoint("slow", slots=SLOTS, service_ms=1_000),
            endpoint("fast", slots=SLOTS, service_ms=100),
        )
        alone = ticket("t", "slow", "fast", priority=priority, penalty_s={"fast": 60.0})
        (sent,) = made.arrive(alone, 0.0)
        assert isinstance(sent, Dispatch)
        assert sent.attempt.endpoint.worker.id == "slow"
        assert not [d for d in made.tick(0.29) if isinstance(d, Hedge)]
        assert bool([d for d in made.tick(0.31) if isinstance(d, Hedge)]) is is_copied


def test_the_first_answer_stops_the_other_attempt() -> None:
    for winner_first in (True, False):
        made = two()
        first = place(made, "t", "late", "free")
        second = hedge_of(made.tick(0.31))
        winner, loser = (first, second) if winner_first else (second, first)
        assert Cancel(loser) in made.ended(winner, ANSWERED, 0.4)
        assert all(worker.free_slots == SLOTS for worker in made.fleet.workers.values())


def test_the_first_byte_decides_the_race() -> None:
    made = two()
    first = place(made, "t", "late", "free")
    second = hedge_of(made.tick(0.31))
    assert made.first_byte(second, 0.35)[0] == Cancel(first)
    assert made.ended(second, ANSWERED, 0.5) == []


def test_an_attempt_is_not_hedged_once_its_answer_has_begun() -> None:
    made = two()
    made.first_byte(place(made, "t", "late", "free"), 0.1)
    assert not [d for d in made.tick(5.0) if isinstance(d, Hedge)]


def test_a_copy_never_takes_a_slot_from_a_request_that_has_none() -> None:
    made = scheduler(endpoint("late", service_ms=100), endpoint("free", service_ms=30_000))
    place(made, "a", "late", "free")
    place(made, "b", "late", "free")
    made.arrive(ticket("waits", "late", "free"), 0.0)
    assert made.waiting == 1
    assert made.waiting_by_model == {"m": 1}
    assert not [d for d in made.tick(0.35) if isinstance(d, Hedge)]


def test_a_copy_must_promise_to_be_quicker_than_what_was_waited_for_already() -> None:
    made = scheduler(endpoint("late", service_ms=100), endpoint("slow", service_ms=5_000))
    place(made, "t", "late", "slow")
    assert not [d for d in made.tick(0.35) if isinstance(d, Hedge)]


def test_hedges_have_a_budget() -> None:
    made = scheduler(
        endpoint("late", slots=50, service_ms=100), endpoint("free", slots=50, service_ms=101)
    )
    for number in range(40):
        place(made, str(number), "late", hedge_share=0.001)
    fresh = [place(made, f"f{n}", "late", "free", hedge_share=0.001) for n in range(9)]
    made.tick(1.0)
    twice = [attempt for attempt in fresh if attempt.twin is not None]
    assert len(twice) <= 2, "more than the floor of the budget"


def test_a_worker_that_loses_in_silence_twice_is_ejected() -> None:
    made = two()
    for name in "ab":
        place(made, name, "late", "free")
    decisions = made.tick(0.31)
    seconds = [d.attempt for d in decisions if isinstance(d, Hedge)]
    ended = [d for second in seconds for d in made.ended(second, ANSWERED, 0.45)]
    assert [d.worker_id for d in ended if isinstance(d, Eject)] == ["late"]


def test_a_failed_twin_leaves_the_other_running() -> None:
    made = two()
    first = place(made, "t", "late", "free")
    second = hedge_of(made.tick(0.31))
    assert made.ended(first, FAILED, 0.32) == []
    assert second.id in second.endpoint.worker.inflight
    assert made.ended(second, ANSWERED, 0.5) == []


def test_a_late_attempt_whose_second_one_failed_gets_another_elsewhere() -> None:
    made = scheduler(
        endpoint("late", slots=SLOTS, service_ms=100),
        endpoint("b", slots=SLOTS, service_ms=110),
        endpoint("c", slots=SLOTS, service_ms=120),
    )
    first = place(made, "t", "late", "b", "c")
    second = hedge_of(made.tick(0.31))
    assert made.ended(second, FAILED, 0.32) == []
    third = hedge_of(made.tick(0.38))
    assert [second.endpoint.id, third.endpoint.id] == ["b", "c"]
    assert Cancel(first) in made.ended(third, ANSWERED, 0.45)
    assert all(worker.free_slots == SLOTS for worker in made.fleet.workers.values())


def test_the_end_of_a_call_ends_both() -> None:
    made = two()
    first = place(made, "t", "late", "free")
    second = hedge_of(made.tick(0.31))
    assert made.ended(first, GIVEN_UP, 0.32) == [Cancel(second)]
    assert all(worker.free_slots == SLOTS for worker in made.fleet.workers.values())


def test_a_long_request_that_loses_does_not_make_its_worker_look_fast() -> None:
    made = two()
    place(made, "t", "late", "free")
    made.ended(hedge_of(made.tick(0.31)), ANSWERED, 0.32)
    # It ran for 0.32 s and would have gone on.
    assert made.fleet.endpoints["late"].estimate.seconds > 0.1


def test_an_endpoint_that_nobody_has_measured_is_given_time() -> None:
    made = scheduler(endpoint("new", slots=2, service_ms=0), endpoint("free", service_ms=120))
    place(made, "t", "new", "free")
    assert not [d for d in made.tick(1.9) if isinstance(d, Hedge)]
    assert hedge_of(made.tick(2.1)).endpoint.id == "free"


def test_a_first_whole_answer_is_not_late_while_an_engine_of_the_middle_would_write_it() -> None:
    made = scheduler(
        endpoint("new", slots=2, service_ms=0), endpoint("free", slots=2, service_ms=120)
    )
    first = place(made, "t", "new", "free", prompt_tokens=50.0, answer_tokens=64.0)
    assert first.endpoint.id == "new"
    assert not hedges(made.tick(3.0))
    assert not hedges(made.tick(9.0))
    assert hedge_of(made.tick(12.0)).endpoint.id == "free", "it hangs"


def hedges(decisions: list[Decision]) -> list[Attempt]:
    return [d.attempt for d in decisions if isinstance(d, Hedge)]


def test_calls_earn_hedges_by_their_share() -> None:
    made = scheduler(
        endpoint("late", slots=200, service_ms=100), endpoint("free", slots=200, service_ms=101)
    )
    for number in range(100):
        place(made, str(number), "late", "free", hedge_share=0.125)
    assert len(hedges(made.tick(1.0))) == 14, "an eighth of the calls, and two"


def test_a_late_attempt_is_hedged_once_nobody_waits_any_more() -> None:
    made = scheduler(
        endpoint("late", service_ms=100),
        endpoint("busy", service_ms=100),
        endpoint("free", slots=2, service_ms=120),
    )
    place(made, "t", "late", "free")
    for name in "xy":
        place(made, name, "busy")
    waiting = ticket("w", "busy")
    made.arrive(waiting, 0.0)
    assert hedges(made.tick(0.35)) == []
    made.withdrawn(waiting)
    assert [second.ticket.id for second in hedges(made.tick(0.45))] == ["t"]


def test_a_second_attempt_needs_a_free_slot_not_just_the_reserve() -> None:
    made = scheduler(endpoint("late", service_ms=100), endpoint("busy", service_ms=30_000))
    place(made, "t", "late")
    place(made, "x", "busy")
    assert made.fleet.workers["busy"].has_room
    assert hedges(made.tick(0.35)) == []


def test_the_quickest_of_the_free_ones_gets_the_second_attempt() -> None:
    made = scheduler(
        endpoint("late", service_ms=50), endpoint("b", service_ms=90), endpoint("c", service_ms=70)
    )
    place(made, "t", "late", "b", "c")
    assert hedge_of(made.tick(0.2)).endpoint.id == "c"


def test_neither_an_ejected_worker_nor_one_that_failed_it_gets_the_second_attempt() -> None:
    made = scheduler(*(endpoint(name, slots=2) for name in ("late", "bad", "failed_it")))
    for name in "ab":
        made.ended(place(made, name, "bad"), FAILED, 0.0)
    place(made, "t", "late", "bad", "failed_it", excluded=frozenset({"failed_it"}))
    assert hedges(made.tick(0.9)) == []


def test_a_baseline_sends_nothing_twice() -> None:
    made = two()
    place(made, "t", "late", policy="round_robin")
    assert hedges(made.tick(5.0)) == []


@pytest.mark.parametrize(("heard_s", "is_blamed"), [(0.09, True), (0.15, False), (0.3, False)])
def test_a_loser_is_not_blamed_whose_worker_was_heard_of_after_its_answer_was_due(
    heard_s: float, is_blamed: bool
) -> None:
    made = two()
    for name in "ab":
        place(made, name, "late", "free")
    alive = place(made, "alive", "late", now_s=0.05)
    made.ended(alive, ANSWERED, heard_s)
    seconds = hedges(made.tick(0.31))
    ended = [d for second in seconds for d in made.ended(second, ANSWERED, 0.45)]
    assert bool([d for d in ended if isinstance(d, Eject)]) is is_blamed
    assert len([d for d in ended if isinstance(d, Cancel)]) == len(seconds) == 2


def test_a_slow_worker_is_not_blamed_for_what_a_fast_one_answers_before_it_is_due() -> None:
    made = scheduler(
        endpoint("slow", slots=SLOTS, service_ms=1_000),
        endpoint("fast", slots=SLOTS, service_ms=100),
    )
    for name in "ab":
        far = {"fast": 60.0}
        place(made, name, "slow", "fast", priority=Priority.BATCH, penalty_s=far)
    seconds = hedges(made.tick(0.31))
    ended = [d for second in seconds for d in made.ended(second, ANSWERED, 0.45)]
    assert len([d for d in ended if isinstance(d, Cancel)]) == len(seconds) == 2
    assert not [d for d in ended if isinstance(d, Eject)]


@pytest.mark.parametrize(("heard_services", "is_blamed"), [(0.5, True), (2.0, False)])
def test_a_loser_is_not_blamed_whose_engine_went_on_with_another_answer(
    heard_services: float, is_blamed: bool
) -> None:
    made = two()
    chat = {"prompt_tokens": 50.0, "answer_tokens": 20.0}
    far = {"free": 60.0}
    talks, *firsts = [
        place(made, name, "late", "free", streams=True, penalty_s=far, **chat) for name in "abc"
    ]
    service_s = firsts[0].run.expected_s
    made.first_byte(talks, 0.1 * service_s)
    talks.heard(1, heard_services * service_s)
    seconds = hedges(made.tick(4 * service_s))
    ended = [d for second in seconds for d in made.first_byte(second, 4.1 * service_s)]
    assert [d.attempt for d in ended if isinstance(d, Cancel)] == firsts
    assert bool([d for d in ended if isinstance(d, Eject)]) is is_blamed


def test_a_second_attempt_that_loses_is_not_blamed() -> None:
    made = two()
    firsts = [place(made, name, "late", "free") for name in "ab"]
    assert len(hedges(made.tick(0.31))) == 2
    ended = [d for first in firsts for d in made.ended(first, ANSWERED, 0.32)]
    assert not [d for d in ended if isinstance(d, Eject)]
    assert made.fleet.workers["free"].ejection.consecutive_failures == 0


def test_the_slot_of_a_cancelled_attempt_goes_to_a_waiting_ticket() -> None:
    made = scheduler(endpoint("late", service_ms=100), endpoint("free", service_ms=120))
    place(made, "t", "late", "free")
    second = hedge_of(made.tick(0.31))
    place(made, "x", "late", now_s=0.31)
    made.arrive(ticket("w", "late", now_s=0.32), 0.32)
    assert made.waiting == 1
    decisions = made.first_byte(second, 0.35)
    assert dispatched(decisions) == ["late"]
    assert made.waiting == 0
