"""The circuit of one worker."""

from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.ejection import FAILURES_TO_EJECT, PAUSE_MAX_S, PAUSE_S, Ejection


def ejected(now_s: float = 0.0) -> Ejection:
    made = Ejection()
    for _ in range(FAILURES_TO_EJECT):
        made.failed(now_s)
    return made


def test_one_failure_is_forgiven() -> None:
    made = Ejection()
    assert not made.failed(0.0)
    assert not made.is_ejected


def test_a_success_in_between_starts_the_count_anew() -> None:
    made = Ejection()
    for _ in range(10):
        made.failed(0.0)
        assert not made.succeeded(), "it was not ejected"
    assert not made.is_ejected


def test_a_circuit_opens_and_is_half_open_when_its_pause_is_over() -> None:
    made = ejected()
    assert made.is_open(PAUSE_S - 0.01)
    assert not made.is_open(PAUSE_S)
    assert made.is_ejected, "until a probe succeeds"


def test_a_success_closes_the_circuit_once() -> None:
    made = ejected()
    assert made.succeeded()
    assert not made.is_ejected
    assert not made.is_open(0.0)
    assert not made.succeeded()


@given(st.integers(0, 5_000))
def test_a_pause_grows_to_its_bound_however_long_a_worker_is_down(more: int) -> None:
    made = ejected()
    before_s = made.until_s
    for _ in range(more):
        assert made.failed(0.0)
        assert before_s <= made.until_s <= PAUSE_MAX_S
        before_s = made.until_s
