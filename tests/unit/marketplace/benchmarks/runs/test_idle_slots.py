"""Live traffic comes first."""

from hypothesis import given
from hypothesis import strategies as st

from marketplace.benchmarks.runs.idle_slots import Traffic, must_yield


@given(st.integers(0, 50), st.integers(1, 64), st.integers(1, 64))
def test_no_more_than_the_idle_slots_beside_others(live: int, wanted: int, slots: int) -> None:
    yields = must_yield(Traffic(in_flight=live), wanted=wanted, slots=slots)
    assert yields is (live > 0 and live + wanted > slots)


def test_what_waits_goes_first() -> None:
    assert must_yield(Traffic(waiting=1), wanted=1, slots=16)
    assert not must_yield(Traffic(), wanted=64, slots=4)
    assert must_yield(Traffic(recent=1), wanted=4, slots=4)
    assert not must_yield(Traffic(recent=1), wanted=3, slots=4)
