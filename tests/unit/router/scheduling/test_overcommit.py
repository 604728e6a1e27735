"""How much is kept in reserve at a worker."""

from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.overcommit import credit

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


def test_an_unknown_service_gets_the_least() -> None:
    assert credit(8, service_s=0.0, rtt_s=1.0) == 1
