"""How much is kept in reserve at a worker."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.domain.catalog import Endpoint
from router.scheduling.fleet.overcommit import credit
from tests.unit.router.scheduling.fleets import dispatched, endpoint, scheduler, ticket

SLOTS = st.integers(1, 256)
SECONDS = st.floats(1e-6, 100)


@given(SLOTS, SECONDS, SECONDS)
def test_the_reserve_is_at_least_one_and_at_most_a_round(
    slots: int, service_s: float, rtt_s: float
) -> None:
    assert 1 <= credit(slots, service_s, rtt_s) <= slots


@given(SLOTS, SECONDS, SECONDS, SECONDS)
def test_a_longer_round_trip_never_needs_less(
    slots: int, service_s: float, rtt_s: float, more_s: float
) -> None:
    assert credit(slots, service_s, rtt_s + more_s) >= credit(slots, service_s, rtt_s)


def test_the_reserve_at_a_worker_hides_its_round_trip() -> None:
    assert credit(4, service_s=0.1, rtt_s=0.001) == 1
    assert credit(16, service_s=0.04, rtt_s=0.010) == 4
    assert credit(4, service_s=0.001, rtt_s=0.1) == 4, "no more than a round of slots"


def test_an_unknown_service_gets_the_least() -> None:
    assert credit(8, service_s=0.0, rtt_s=1.0) == 1


def test_a_reserved_slot_is_not_taken_by_what_is_sent_beyond_the_others() -> None:
    def offered(slots: int, reserved: int) -> Endpoint:
        made = endpoint("a", slots=slots)
        return replace(made, worker=replace(made.worker, reserved=reserved))

    made = scheduler(offered(4, 0))
    made.apply([offered(3, 1)], 0.0)
    sent = [made.arrive(ticket(str(number), "a"), 0.0) for number in range(6)]
    assert sum(len(dispatched(message)) for message in sent) == 3
    given_back = made.apply([offered(4, 0)], 0.0)
    assert len(dispatched(given_back)) == 2, "its slot, and the reserve"
