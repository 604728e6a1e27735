"""Where those who wait stand, and how long they can expect to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.fleet.fleet import Fleet
from router.scheduling.waiting.queue import Queue
from router.scheduling.waiting.standing import standing_of, standings
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket


def test_places_follow_the_order_of_the_queue() -> None:
    fleet = Fleet()
    fleet.apply([endpoint("a")])
    slate = fleet.slate(("a",))
    queue = Queue()
    for number, work in enumerate((1.0, 5.0, 1.0)):
        queue.add(ticket(str(number), "a", now_s=float(number), work=work), slate)
    found = standings(queue, 3.0)
    assert [(item, found[item].place) for item in "012"] == [("0", 1), ("1", 2), ("2", 3)]


def test_the_eta_grows_with_the_place() -> None:
    made = scheduler(endpoint("a", slots=2))
    for number in range(6):
        made.arrive(ticket(str(number), "a", now_s=0.0, work=1.0), 0.0)
    found = made.standings(0.0)
    assert [found[result].place for result in sorted(found)] == [1, 2, 3]
    times = [found[result].eta_s for result in sorted(found)]
    assert times[0] > 0
    assert times == pytest.approx([times[0], 2 * times[0], 3 * times[0]])


def test_an_empty_queue_has_no_standings() -> None:
    assert scheduler(endpoint("a")).standings(0.0) == {}


@given(
    st.lists(st.tuples(st.floats(0.1, 9.0), st.integers(0, 60)), min_size=1, max_size=30),
    st.integers(1, 3),
)
def test_the_quick_standing_of_a_new_ticket_agrees_with_the_full_list(
    calls: list[tuple[float, int]], tenants: int
) -> None:
    fleet = Fleet()
    fleet.apply([endpoint("a", slots=1)])
    slate = fleet.slate(("a",))
    queue = Queue()
    for number, (work, now_s) in enumerate(calls):
        queued = ticket(str(number), "a", now_s=float(now_s), work=work, tenant=number % tenants)
        queue.add(queued, slate)
    received = standing_of(queue, slate, queued)
    seen = standings(queue, 60.0)[queued.id]
    assert received is not None
    assert 1 <= received.place <= len(calls)
    if tenants == 1:
        assert received.place == seen.place


def test_a_ticket_that_does_not_wait_has_no_standing() -> None:
    made = scheduler(endpoint("a"))
    here = ticket("0", "a", now_s=0.0)
    made.arrive(here, 0.0)
    assert made.standing(here) is None
