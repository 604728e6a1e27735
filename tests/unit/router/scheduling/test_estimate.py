"""Learning how fast a worker is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.estimate import CLAMP, UNKNOWN_S, ServiceEstimate
from router.scheduling.retry_budget import RETRY_FLOOR, RetryBudget


def test_a_benchmarks_prior_counts_until_the_first_sample() -> None:
    estimate = ServiceEstimate(prior_s=2.0)
    assert estimate.seconds == 2.0
    estimate.observe(0.5, work=1.0)
    assert estimate.seconds == 0.5


def test_without_a_prior_a_worker_is_taken_for_fast_so_that_it_is_tried() -> None:
    assert ServiceEstimate().seconds == UNKNOWN_S


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=50))
def test_an_estimate_stays_between_the_extremes_seen(samples: list[float]) -> None:
    estimate = ServiceEstimate()
    for sample in samples:
        estimate.observe(sample, work=1.0)
    assert min(samples) * 0.999 <= estimate.seconds <= max(samples) * 1.001


def test_one_outlier_is_clamped() -> None:
    estimate = ServiceEstimate()
    for _ in range(20):
        estimate.observe(0.1, work=1.0)
    estimate.observe(100.0, work=1.0)
    assert estimate.seconds < 0.1 * (1 + CLAMP * 0.1 + 0.01)


def test_an_instant_service_still_leaves_a_finite_rate() -> None:
    estimate = ServiceEstimate()
    estimate.observe(0.0, work=1.0)
    assert estimate.seconds > 0


def test_larger_work_is_not_taken_for_slowness() -> None:
    estimate = ServiceEstimate()
    estimate.observe(4.0, work=4.0)
    assert estimate.seconds == pytest.approx(1.0)


def test_retries_are_a_share_of_calls_above_a_floor() -> None:
    budget = RetryBudget()
    assert sum(budget.withdraw() for _ in range(100)) == RETRY_FLOOR
    for _ in range(50):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) in (9, 10)
