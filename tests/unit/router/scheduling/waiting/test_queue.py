"""The order of those who wait, and whose turn it is."""

from hypothesis import given
from hypothesis import strategies as st

from router.domain.request import Priority
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.waiting.queue import TARGET_S, Queue, QueuedTicket
from router.scheduling.waiting.turn import FIRST, LATE, PRESSURE, whose_turn
from tests.unit.router.scheduling.fleets import endpoint, ticket

FLEET = Fleet()
FLEET.apply([endpoint("a"), endpoint("b")])
A, B = FLEET.endpoints.values()
SLATE = FLEET.slate(("a",))


def add(queue: Queue, name: str, **more: object) -> QueuedTicket:
    return queue.add(ticket(name, "a", **more), SLATE)  # type: ignore[arg-type]


def names(queue: Queue) -> list[str]:
    return [item.ticket.id for item in queue]


def test_equals_are_served_in_the_order_of_their_arrival() -> None:
    queue = Queue()
    for number, name in enumerate("abc"):
        add(queue, name, now_s=float(number))
    assert names(queue) == ["a", "b", "c"]


def test_a_burst_of_one_tenant_makes_that_tenant_wait() -> None:
    queue = Queue()
    for number in range(4):
        add(queue, f"burst{number}", tenant=1)
    add(queue, "calm", tenant=2)
    assert names(queue).index("calm") == 1


def test_a_tenants_share_is_of_work_not_of_requests() -> None:
    queue = Queue()
    for number in range(3):
        add(queue, f"large{number}", tenant=1, work=4.0)
    for number in range(6):
        add(queue, f"small{number}", tenant=2, work=1.0)
    order = names(queue)
    assert order.index("large1") > order.index("small3")


def test_an_empty_queue_forgets_what_tenants_had() -> None:
    queue = Queue()
    first = add(queue, "first", tenant=1, work=100.0)
    queue.remove(first.ticket)
    add(queue, "again", tenant=1)
    add(queue, "other", tenant=2)
    assert names(queue) == ["again", "other"]


def test_the_earliest_deadline_goes_first_across_priorities() -> None:
    queue = Queue()
    add(queue, "batch", priority=Priority.BATCH)
    add(queue, "standard", now_s=1.0)
    add(queue, "person", priority=Priority.INTERACTIVE, now_s=2.0)
    assert names(queue) == ["person", "standard", "batch"]


def test_batch_work_waits_no_longer_than_its_target_for_the_others() -> None:
    queue = Queue()
    add(queue, "batch", priority=Priority.BATCH)
    late_s = TARGET_S[Priority.BATCH]
    add(queue, "person", priority=Priority.INTERACTIVE, now_s=late_s)
    assert names(queue) == ["batch", "person"]


def test_a_deadline_of_ones_own_counts() -> None:
    queue = Queue()
    add(queue, "person", priority=Priority.INTERACTIVE)
    add(queue, "urgent", priority=Priority.BATCH, deadline_s=0.5)
    assert names(queue) == ["urgent", "person"]


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Priority)), st.integers(0, 3), st.floats(0.1, 9)),
        max_size=30,
    ),
    st.data(),
)
def test_tickets_and_their_work_stay_until_they_are_removed(
    made: list[tuple[Priority, int, float]], data: st.DataObject
) -> None:
    queue = Queue()
    for number, (priority, tenant, work) in enumerate(made):
        add(queue, str(number), priority=priority, tenant=tenant, work=work)
    gone = data.draw(st.sets(st.sampled_from(range(len(made))))) if made else set()
    for number in gone:
        assert queue.remove(
            ticket(str(number), "a", priority=made[number][0], work=made[number][2])
        )
    left = {str(n) for n in range(len(made))} - {str(n) for n in gone}
    assert set(names(queue)) == left
    assert len(queue) == len(left)
    kept = sum(made[int(name)][2] for name in left)
    assert abs(queue.work.get("m", 0.0) - kept) < 1e-6


def test_short_waits_are_served_in_fair_order() -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0)
    add(queue, "small", work=0.1)
    peers = queue.peers(large.ticket)
    assert whose_turn(large, peers, A, 1.0, now_s=PRESSURE) is large


def test_under_pressure_the_shorter_goes_first_within_reason() -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0)
    small = add(queue, "small", work=0.1, now_s=0.5)
    other = add(queue, "other", work=0.1, now_s=0.5, tenant=7)
    peers = queue.peers(large.ticket)
    assert whose_turn(large, peers, A, 1.0, now_s=1.0) is small
    turn = whose_turn(other, queue.peers(other.ticket), A, 1.0, now_s=1.2)
    assert turn is other, "tenants do not overtake"
    assert whose_turn(large, peers, A, 1.0, now_s=FIRST) is large, "not for ever"


def test_a_late_ticket_makes_way_for_one_that_can_still_be_on_time() -> None:
    queue = Queue()
    late = add(queue, "late")
    fresh = add(queue, "fresh", now_s=LATE)
    peers = queue.peers(late.ticket)
    assert whose_turn(late, peers, A, 1.0, now_s=LATE + 0.1) is fresh
    assert whose_turn(late, peers, B, 1.0, now_s=LATE + 0.1) is fresh


def test_a_turn_is_not_given_to_a_ticket_that_failed_on_this_worker() -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0)
    add(queue, "small", work=0.1, excluded=frozenset({"a"}))
    assert whose_turn(large, queue.peers(large.ticket), A, 1.0, now_s=1.0) is large
