"""The circuit of one worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.fleet.ejection import (
    FAILURES_TO_EJECT,
    PAUSE_MAX_S,
    PAUSE_S,
    PAUSE_SHARE,
    Ejection,
)


def ejected(now_s: float = 0.0) -> Ejection:
    made = Ejection()
    for _ in range(FAILURES_TO_EJECT):
        made.failed(now_s, now_s)
    return made


def test_one_failure_is_forgiven() -> None:
    made = Ejection()
    assert not made.failed(0.0, 0.0)
    assert not made.is_ejected


def test_a_success_in_between_resets_the_count() -> None:
    made = Ejection()
    for _ in range(10):
        made.failed(0.0, 0.0)
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


def test_one_tenants_requests_raise_a_doubt_and_never_eject() -> None:
    made = Ejection()
    for _ in range(50):
        assert not made.failed(0.0, 0.0, tenant=1)
        assert made.is_doubted
    assert not made.is_ejected
    assert made.is_blamed_only_by(1)
    assert not made.is_blamed_only_by(2)


@pytest.mark.parametrize("other", [2, None])
def test_a_doubt_that_another_one_shares_ejects(other: int | None) -> None:
    """Another tenant, or a probe."""
    made = Ejection()
    made.failed(0.0, 0.0, tenant=1)
    assert made.failed(0.0, 0.0, tenant=other)
    assert made.is_ejected
    assert not made.is_blamed_only_by(1)


def test_a_doubt_that_was_confirmed_counts_like_any_failure() -> None:
    made = Ejection()
    made.failed(0.0, 0.0, tenant=1)
    made.confirm()
    assert not made.is_blamed_only_by(1)
    assert made.failed(0.0, 0.0, tenant=1)


def test_a_success_ends_a_doubt() -> None:
    made = Ejection()
    made.failed(0.0, 0.0, tenant=1)
    made.succeeded()
    assert not made.is_doubted
    assert made.is_blamed_only_by(2)


@given(st.integers(0, 5_000))
def test_a_pause_grows_to_its_bound_however_long_a_worker_is_down(more: int) -> None:
    made = ejected()
    pause_s = 0.0
    for _ in range(more):
        now_s = made.until_s  # A probe is sent as soon as the pause is over.
        assert made.failed(now_s, now_s)
        longer_s = round(made.until_s - now_s, 9)
        assert pause_s <= longer_s <= PAUSE_MAX_S
        pause_s = longer_s


def test_failures_of_requests_sent_before_the_circuit_opened_count_as_one() -> None:
    made = ejected(now_s=10.0)
    for _ in range(50):
        assert not made.failed(9.0, 10.5), "a hung worker fails all that it had"
    assert not made.failed(9.0, 12.0), "or some of it much later"
    assert made.until_s == 10.0 + PAUSE_S
    assert made.failed(11.0, 11.5), "but a probe counts"
    assert made.until_s == 11.5 + PAUSE_S
    assert made.failed(20.0, 26.0)
    assert made.until_s == 26.0 + PAUSE_SHARE * 16.0, "it has been out since the first of them"


def test_an_outage_counts_from_when_the_worker_was_taken_out_last() -> None:
    made = ejected(now_s=10.0)
    made.failed(90.0, 90.0)
    made.succeeded()
    for _ in range(FAILURES_TO_EJECT):
        made.failed(100.0, 100.0)
    assert made.until_s == 100.0 + PAUSE_S
