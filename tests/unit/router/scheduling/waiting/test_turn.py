"""Which waiting call takes a place that was found."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.request import Sort
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.waiting.queue import Queue, QueuedTicket
from router.scheduling.waiting.turn import FIRST, LOOKED_AT_MAX, PRESSURE, whose_turn
from tests.unit.router.scheduling.fleets import endpoint, ticket

FLEET = Fleet()
FLEET.apply([endpoint("a"), endpoint("b")])
A, B = FLEET.endpoints.values()
SLATE = FLEET.slate(("a",))
OTHER_SLATE = FLEET.slate(("a", "b"))


def add(queue: Queue, name: str, **more: object) -> QueuedTicket:
    return queue.add(ticket(name, "a", **more), SLATE)  # type: ignore[arg-type]


def test_requests_for_other_workers_do_not_overtake() -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0)
    queue.add(ticket("small", "a", "b", work=0.1), OTHER_SLATE)
    assert whose_turn(large, queue.peers(large.ticket), A, 1.0, now_s=1.0) is large


def test_without_a_known_service_time_the_order_does_not_change() -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0)
    add(queue, "small", work=0.1)
    assert whose_turn(large, queue.peers(large.ticket), A, 0.0, now_s=1.0) is large


@pytest.mark.parametrize(
    "mine", [{"sort": Sort.PRICE}, {"yields": True}, {"penalty_s": {"a": 2.0}}]
)
def test_a_ticket_with_a_wish_of_its_own_takes_no_place_that_was_found_for_another(
    mine: dict[str, Any],
) -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0)
    add(queue, "small", work=0.1, **mine)
    assert whose_turn(large, queue.peers(large.ticket), A, 1.0, now_s=1.0) is large


def test_a_place_found_for_a_wish_is_taken_by_no_other() -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0, sort=Sort.PRICE)
    add(queue, "small", work=0.1)
    assert whose_turn(large, queue.peers(large.ticket), A, 1.0, now_s=1.0) is large


def test_a_place_may_go_to_whom_it_costs_less() -> None:
    queue = Queue()
    large = add(queue, "large", work=9.0, penalty_s={"a": 2.0})
    small = add(queue, "small", work=0.1, penalty_s={"a": 1.0})
    assert whose_turn(large, queue.peers(large.ticket), A, 1.0, now_s=1.0) is small


def test_among_equal_tickets_the_oldest_goes_first() -> None:
    queue = Queue()
    first = add(queue, "first")
    second = add(queue, "second", now_s=0.2)
    peers = queue.peers(first.ticket)
    assert whose_turn(second, peers, A, 1.0, now_s=1.0) is first


def test_only_so_many_peers_are_looked_at() -> None:
    queue = Queue()
    made = [add(queue, f"t{n}", work=5.0) for n in range(LOOKED_AT_MAX)]
    small = add(queue, "small", work=0.1)
    peers = queue.peers(small.ticket)
    assert whose_turn(made[0], peers, A, 1.0, now_s=1.0) is made[0]


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0.05, 20), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=20,
    ),
    st.data(),
)
def test_a_turn_goes_to_the_same_tenant_and_never_where_a_ticket_failed(
    made: list[tuple[float, float, int, bool]], data: st.DataObject
) -> None:
    queue = Queue()
    waiting = [
        add(
            queue,
            str(number),
            now_s=arrived_s,
            work=work,
            tenant=tenant,
            excluded=frozenset({"b"} if shuns else ()),
        )
        for number, (arrived_s, work, tenant, shuns) in enumerate(made)
    ]
    one = data.draw(st.sampled_from(waiting))
    now_s = data.draw(st.floats(5, 12))
    turn = whose_turn(one, queue.peers(one.ticket), B, 1.0, now_s=now_s)
    assert turn is one or "b" not in turn.ticket.excluded
    assert turn.ticket.tenant == one.ticket.tenant
    if not PRESSURE < now_s - one.ticket.arrived_s < FIRST:
        assert turn is one
