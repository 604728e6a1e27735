"""What is still running is evidence too."""

from math import inf, isclose
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.estimates.censored import AGE_TOLERANCE, evidence


class Running(NamedTuple):
    started_s: float
    expected_s: float


RUNNING = st.lists(st.builds(Running, st.floats(0, 100), st.floats(0.01, 100)), min_size=1)


def test_an_idle_worker_gives_no_evidence_ever() -> None:
    assert evidence([], 1e9) == (1.0, inf)


@given(RUNNING, st.floats(100, 1000))
def test_a_worker_never_looks_faster_than_estimated(running: list[Running], now_s: float) -> None:
    slow, _ = evidence(running, now_s)
    assert slow >= 1.0


@given(RUNNING)
def test_the_evidence_begins_at_the_returned_time(running: list[Running]) -> None:
    _, since_s = evidence(running, 0.0)
    assert evidence(running, since_s - 1e-3)[0] == 1.0
    assert evidence(running, since_s + 1e-3)[0] > 1.0


@given(RUNNING, st.floats(100, 1000), st.floats(0, 1000))
def test_slowness_only_grows_while_nothing_ends(
    running: list[Running], now_s: float, more_s: float
) -> None:
    before, later = evidence(running, now_s)[0], evidence(running, now_s + more_s)[0]
    assert later > before or isclose(later, before)


def test_one_old_request_among_many_young_ones_is_no_evidence() -> None:
    young = [Running(9.9, 1.0) for _ in range(9)]
    assert evidence([Running(0.0, 1.0), *young], 10.0)[0] == 1.0


def test_a_request_that_should_be_long_may_be_old() -> None:
    assert evidence([Running(0.0, 10.0)], 10.0)[0] == 1.0
    assert evidence([Running(0.0, 1.0)], 10.0)[0] == pytest.approx(10.0 / AGE_TOLERANCE)
