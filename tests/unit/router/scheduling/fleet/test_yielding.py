"""Batch work leaves slots free for others, while there are others."""

import heapq
import random

import pytest

from router.domain.request import Priority
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Decision, Dispatch
from router.scheduling.fleet.worker import Attempt
from router.scheduling.fleet.yielding import Yielding
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import endpoint, place, ticket

YIELDS = Yielding(share=0.1, quiet_s=5.0)


def scheduler(*slots: int, yielding: Yielding = YIELDS) -> Scheduler:
    made = Scheduler(queue_max=100, random=random.Random(1).random, yielding=yielding)
    made.apply([endpoint(f"w{n}", slots=count) for n, count in enumerate(slots)], 0.0)
    return made


def batch(
    made: Scheduler, count: int, *candidates: str, now_s: float = 0.0, since: int = 0
) -> list[Attempt]:
    """So many batch calls arrive; those that begin."""
    decisions: list[Decision] = []
    for number in range(since, since + count):
        one = ticket(
            f"b{number}", *candidates, now_s=now_s, priority=Priority.BATCH, yields=True, tenant=7
        )
        decisions += made.arrive(one, now_s)
    return begun(decisions)


def begun(decisions: list[Decision]) -> list[Attempt]:
    return [decision.attempt for decision in decisions if isinstance(decision, Dispatch)]


@pytest.mark.parametrize(("slots", "begin"), [(1, 1), (2, 1), (16, 1), (40, 4)])
def test_beside_others_it_takes_its_share_of_the_slots_and_one_at_least(
    slots: int, begin: int
) -> None:
    made = scheduler(slots)
    other = place(made, "other", "w0")
    made.ended(other, ANSWERED, 0.05)
    assert len(batch(made, 50, "w0", now_s=0.1)) == begin
    assert made.waiting == 50 - begin


def test_calls_of_batch_priority_outside_a_batch_may_fill_a_worker() -> None:
    made = scheduler(16)
    place(made, "other", "w0")
    for number in range(15):
        place(made, f"own{number}", "w0", now_s=0.1, priority=Priority.BATCH)


def test_other_calls_find_room_while_batch_calls_wait() -> None:
    made = scheduler(16)
    place(made, "first", "w0")
    batch(made, 50, "w0", now_s=0.1)
    for number in range(14):
        place(made, f"other{number}", "w0", now_s=0.2)


def test_a_quiet_worker_is_filled() -> None:
    assert len(batch(scheduler(16), 50, "w0")) >= 16


def test_it_fills_up_once_the_others_have_been_quiet() -> None:
    made = scheduler(16)
    made.ended(place(made, "other", "w0"), ANSWERED, 0.05)
    assert len(batch(made, 50, "w0", now_s=0.1)) == 1
    assert not begun(made.tick(4.9))
    assert len(begun(made.tick(5.1))) >= 15


def test_the_next_begins_as_one_ends() -> None:
    made = scheduler(16)
    made.ended(place(made, "other", "w0"), ANSWERED, 0.05)
    (running,) = batch(made, 5, "w0", now_s=0.1)
    assert len(begun(made.ended(running, ANSWERED, 0.2))) == 1


def test_of_workers_with_one_slot_each_it_takes_its_share_too() -> None:
    made = scheduler(*[1] * 20)
    names = [f"w{n}" for n in range(20)]
    for name in names:
        made.ended(place(made, f"other-{name}", name), ANSWERED, 0.05)
    assert len(batch(made, 50, *names, now_s=0.1)) == 2


def test_it_has_one_slot_of_a_small_worker_and_one_of_a_large_one() -> None:
    made = scheduler(16, 1)
    for name in ("w0", "w1"):
        made.ended(place(made, f"other-{name}", name), ANSWERED, 0.05)
    found = batch(made, 5, "w0", "w1", now_s=0.1)
    assert sorted(attempt.endpoint.id for attempt in found) == ["w0", "w1"]


def test_it_leaves_the_only_slot_that_others_use_while_another_worker_is_quiet() -> None:
    made = scheduler(16, 1)
    made.ended(place(made, "other", "w1"), ANSWERED, 0.05)
    found = batch(made, 50, "w0", "w1", now_s=0.1)
    assert {attempt.endpoint.id for attempt in found} == {"w0"}
    assert len(found) >= 16
    # So the next one has its usual place, and does not wait behind sixteen calls for two instances.
    assert place(made, "next", "w0", "w1", now_s=0.2).endpoint.id == "w1"


def test_it_goes_on_there_once_that_is_quiet_too() -> None:
    made = scheduler(1, 1)
    made.ended(place(made, "other", "w1"), ANSWERED, 0.05)
    assert {attempt.endpoint.id for attempt in batch(made, 5, "w0", "w1", now_s=0.1)} == {"w0"}
    assert {attempt.endpoint.id for attempt in begun(made.tick(5.1))} == {"w1"}


def test_other_work_than_batches_fills_all_slots() -> None:
    made = scheduler(4)
    for number in range(4):
        place(made, f"s{number}", "w0", tenant=number)


def waits_s(yielding: Yielding) -> list[float]:
    """What interactive calls wait for on a worker with two instances behind sixteen slots.

    It works on two calls at a time, in the order in which they come: a batch call takes 20 ms,
    another 1 ms. A batch always has 25 calls under way.
    """
    made = scheduler(16, yielding=yielding)
    rng = random.Random(2)
    free_s = [0.0, 0.0]
    events: list[tuple[float, int, str, Attempt | None]] = []
    counted = 0
    waits: list[float] = []

    def push(at_s: float, kind: str, attempt: Attempt | None = None) -> None:
        nonlocal counted
        counted += 1
        heapq.heappush(events, (at_s, counted, kind, attempt))

    def carry_out(decisions: list[Decision], now_s: float) -> None:
        for attempt in begun(decisions):
            is_batch = attempt.ticket.yields
            start_s = max(heapq.heappop(free_s), now_s)
            if not is_batch:
                waits.append(start_s - attempt.ticket.arrived_s)
            end_s = start_s + (0.02 if is_batch else 0.001)
            heapq.heappush(free_s, end_s)
            push(end_s, "batch" if is_batch else "", attempt)

    push(0.0, "other")
    for _ in range(25):
        push(0.1, "batch")
    while events and events[0][0] < 10:
        now_s, number, kind, attempt = heapq.heappop(events)
        if attempt is not None:
            carry_out(made.ended(attempt, ANSWERED, now_s), now_s)
        if kind == "other":
            one = ticket(f"i{number}", "w0", now_s=now_s, priority=Priority.INTERACTIVE)
            carry_out(made.arrive(one, now_s), now_s)
            push(now_s + rng.expovariate(50), "other")
        elif kind == "batch":
            one = ticket(
                f"b{number}", "w0", now_s=now_s, priority=Priority.BATCH, yields=True, tenant=7
            )
            carry_out(made.arrive(one, now_s), now_s)
    return sorted(waits)


def test_interactive_calls_do_not_wait_for_batch_work_on_simulated_instances() -> None:
    alone, full = waits_s(YIELDS), waits_s(Yielding())
    assert alone[int(0.99 * len(alone))] < 0.002
    assert full[len(full) // 2] > 0.02
