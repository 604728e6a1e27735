"""How many workers a pool should have."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from marketplace.planning.scaling.desired import (
    Bounds,
    Demand,
    backlog_slots,
    desired_workers,
    steady_slots,
)

BOUNDS = Bounds(0, 50)
IDLE = Demand(rate_hz=0, waiting=0, in_flight=0, service_ms=500, slo_ms=2_000, slots=4)

demands = st.builds(
    Demand,
    rate_hz=st.floats(0, 200),
    waiting=st.floats(0, 200),
    in_flight=st.integers(0, 200),
    service_ms=st.floats(0, 5_000),
    slo_ms=st.floats(0, 10_000),
    slots=st.integers(1, 64),
)


def test_a_pool_without_calls_has_its_least_number_of_workers() -> None:
    assert desired_workers(IDLE, BOUNDS) == 0
    assert desired_workers(IDLE, Bounds(2, 5)) == 2


def test_the_first_call_wants_a_worker_though_nothing_is_known_of_the_speed() -> None:
    first = replace(IDLE, waiting=1, service_ms=0, slo_ms=0)
    assert desired_workers(first, BOUNDS) == 1


def test_a_load_of_eight_slots_has_room_to_spare() -> None:
    """16 calls a second of half a second keep eight slots busy: with just those all would wait."""
    busy = replace(IDLE, rate_hz=16)
    assert steady_slots(busy) == 8
    assert desired_workers(busy, BOUNDS) == 3


def test_a_tighter_slo_wants_more() -> None:
    busy = replace(IDLE, rate_hz=16)
    counts = [desired_workers(replace(busy, slo_ms=slo_ms), BOUNDS) for slo_ms in (5_000, 800, 501)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_a_backlog_is_worked_off_within_the_slo() -> None:
    waiting = replace(IDLE, waiting=80)
    assert backlog_slots(waiting) == 20
    assert desired_workers(waiting, BOUNDS) == 5
    both = replace(waiting, rate_hz=16)
    assert desired_workers(both, BOUNDS) == 8


def test_calls_that_are_long_count_before_they_end() -> None:
    assert desired_workers(replace(IDLE, in_flight=8), BOUNDS) == 2
    assert desired_workers(replace(IDLE, in_flight=9), BOUNDS) == 3


def test_one_call_has_one_worker_started_and_not_several() -> None:
    """Also while it runs, and once it has ended: 0.3 s of work within the last ten seconds."""
    alone = replace(IDLE, slots=1, service_ms=300, slo_ms=0)
    for seen in ({"waiting": 1}, {"in_flight": 1}, {"rate_hz": 0.1, "in_flight": 1}):
        assert desired_workers(replace(alone, **seen), BOUNDS) == 1, seen


@given(demands, st.integers(0, 5), st.integers(5, 60))
def test_it_stays_within_its_bounds(demand: Demand, least: int, most: int) -> None:
    assert least <= desired_workers(demand, Bounds(least, most)) <= most


@given(demands, st.floats(0, 100), st.integers(0, 100))
def test_more_to_do_never_wants_fewer(demand: Demand, more: float, running: int) -> None:
    asked = desired_workers(demand, BOUNDS)
    for grown in (
        replace(demand, rate_hz=demand.rate_hz + more),
        replace(demand, waiting=demand.waiting + more),
        replace(demand, in_flight=demand.in_flight + running),
    ):
        assert desired_workers(grown, BOUNDS) >= asked
