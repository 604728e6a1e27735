"""Start-time fairness across tenants, and deadlines inside a tenant."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.domain.request import Priority
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.waiting.queue import TARGET_S, Queue
from tests.unit.router.scheduling.fleets import endpoint, ticket

FLEET = Fleet()
FLEET.apply([endpoint("a")])
SLATE = FLEET.slate(("a",))
LARGEST = 5.0


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.1, LARGEST)), min_size=1, max_size=40))
def test_waiting_tenants_get_equal_work_to_within_a_request(
    made: list[tuple[int, float]],
) -> None:
    queue = Queue()
    for number, (tenant, work) in enumerate(made):
        queue.add(ticket(str(number), "a", tenant=tenant, work=work), SLATE)
    left = Counter(tenant for tenant, _ in made)
    served = dict.fromkeys(left, 0.0)
    while all(left.values()):
        first = next(iter(queue)).ticket
        queue.remove(first)
        left[first.tenant] -= 1
        served[first.tenant] += first.work
        assert max(served.values()) - min(served.values()) <= 2 * LARGEST


def test_a_share_is_the_same_whatever_priority_is_asked_for() -> None:
    queue = Queue()
    for number in range(6):
        queue.add(ticket(f"p{number}", "a", tenant=1, priority=Priority.INTERACTIVE), SLATE)
        queue.add(ticket(f"b{number}", "a", tenant=2, priority=Priority.BATCH), SLATE)
    tenants = [item.ticket.tenant for item in queue]
    assert tenants == [1, 2] * 6


def test_a_turn_that_came_to_nothing_is_not_charged() -> None:
    queue = Queue()
    for number in range(3):
        queue.add(ticket(f"left{number}", "a", tenant=1), SLATE)
        queue.add(ticket(f"other{number}", "a", tenant=2), SLATE)
    queue.remove(ticket("left0", "a"), served=False)
    assert [item.ticket.id for item in queue][:2] == ["other0", "left1"]


def test_a_tenant_that_returns_still_owes_what_it_took_beyond_its_share() -> None:
    queue = Queue()
    queue.add(ticket("large", "a", tenant=1, work=5.0), SLATE)
    queue.add(ticket("other0", "a", tenant=2), SLATE)
    queue.remove(ticket("large", "a"))
    queue.add(ticket("again", "a", tenant=1), SLATE)
    for number in range(1, 8):
        queue.add(ticket(f"other{number}", "a", tenant=2), SLATE)
    order = [item.ticket.id for item in queue]
    assert order.index("again") in (5, 6)


def test_a_new_tenant_has_no_credit_for_the_time_before_it_came() -> None:
    queue = Queue()
    for number in range(6):
        queue.add(ticket(f"old{number}", "a", tenant=1), SLATE)
    for _ in range(4):
        queue.remove(next(iter(queue)).ticket)
    for number in range(4):
        queue.add(ticket(f"new{number}", "a", tenant=2), SLATE)
    order = [item.ticket.tenant for item in queue]
    assert order[:4] in ([1, 2, 1, 2], [1, 2, 2, 1])


def test_batch_work_gets_its_turn_however_much_interactive_work_keeps_coming() -> None:
    queue = Queue()
    queue.add(ticket("batch", "a", priority=Priority.BATCH), SLATE)
    now_s = 0.0
    for number in range(100_000):
        now_s += 0.1
        person = ticket(f"p{number}", "a", now_s=now_s, priority=Priority.INTERACTIVE)
        queue.add(person, SLATE)
        first = next(iter(queue)).ticket
        queue.remove(first)
        if first.id == "batch":
            break
    assert now_s <= TARGET_S[Priority.BATCH]


@given(st.lists(st.tuples(st.sampled_from(list(Priority)), st.floats(0, 100)), max_size=12))
def test_tickets_of_different_priorities_are_ordered_by_deadline(
    made: list[tuple[Priority, float]],
) -> None:
    queue = Queue()
    seen: set[Priority] = set()
    for number, (priority, now_s) in enumerate(made):
        if priority not in seen:
            seen.add(priority)
            queue.add(ticket(str(number), "a", now_s=now_s, priority=priority), SLATE)
    deadlines = [item.deadline_s for item in queue]
    assert all(before <= after for before, after in pairwise(deadlines))


def test_the_queue_may_change_while_it_is_iterated() -> None:
    queue = Queue()
    for number, priority in enumerate(list(Priority) * 3):
        queue.add(ticket(str(number), "a", priority=priority), SLATE)
    seen = 0
    for item in queue:
        assert queue.remove(item.ticket)
        assert not queue.remove(item.ticket), "once"
        assert not item.is_waiting
        seen += 1
    assert seen == 9
    assert not queue.work
