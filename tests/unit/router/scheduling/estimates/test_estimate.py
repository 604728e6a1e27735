"""Learning how fast a worker is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.estimates.estimate import (
    CLAMP,
    PRIOR_SAMPLES,
    SMOOTHING,
    TRANSLATION,
    UNKNOWN_S,
    ServiceEstimate,
    shrunk,
)


def test_a_benchmarks_prior_is_worth_a_few_samples() -> None:
    estimate = ServiceEstimate(prior_s=2.0)
    assert estimate.seconds == 2.0
    estimate.observe(1.0, work=1.0)
    assert estimate.seconds == pytest.approx(2.0 - 1.0 / (PRIOR_SAMPLES + 1))


def test_without_a_prior_a_worker_is_taken_for_fast_so_that_it_is_tried() -> None:
    estimate = ServiceEstimate()
    assert estimate.seconds == UNKNOWN_S
    estimate.observe(3.0, work=1.0)
    assert estimate.seconds == 3.0


def test_a_newer_prior_counts_only_until_something_was_measured() -> None:
    estimate = ServiceEstimate()
    estimate.expect(0.7)
    assert estimate.seconds == 0.7
    estimate.observe(0.6, work=1.0)
    measured = estimate.seconds
    estimate.expect(5.0)
    assert estimate.seconds == measured


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=50))
def test_an_estimate_stays_between_the_extremes_seen(samples: list[float]) -> None:
    estimate = ServiceEstimate()
    for sample in samples:
        estimate.observe(sample, work=1.0)
    assert min(samples) * 0.999 <= estimate.seconds <= max(samples) * 1.001


def test_one_outlier_is_clamped() -> None:
    estimate = ServiceEstimate()
    for _ in range(40):
        estimate.observe(0.1, work=1.0)
    estimate.observe(100.0, work=1.0)
    assert estimate.seconds < 0.1 * (1 + CLAMP * SMOOTHING + 0.01)


def test_an_instant_service_still_leaves_a_finite_rate() -> None:
    estimate = ServiceEstimate()
    estimate.observe(0.0, work=1.0)
    assert estimate.seconds > 0


def test_larger_work_is_not_taken_for_slowness() -> None:
    estimate = ServiceEstimate()
    estimate.observe(4.0, work=4.0)
    assert estimate.seconds == pytest.approx(1.0)


def test_noise_is_drawn_towards_the_pool_and_a_straggler_hardly() -> None:
    assert abs(shrunk(1.1, 1.0) - 1.0) < 0.05
    assert shrunk(10.0, 1.0) >= 10.0 * (1 - TRANSLATION)
    assert shrunk(1.0, 10.0) <= 1.0 * (1 + TRANSLATION)


def test_a_bound_only_ever_raises_an_estimate() -> None:
    estimate = ServiceEstimate()
    estimate.at_least(2.0)
    assert estimate.seconds == 2.0
    estimate.at_least(1.0)
    assert estimate.seconds == 2.0
    assert estimate.is_guess, "a bound is no measurement"


def test_an_estimate_is_a_guess_until_something_like_it_was_measured() -> None:
    estimate = ServiceEstimate()
    assert estimate.is_guess
    estimate.expect(0.3)
    assert not estimate.is_guess
    assert not ServiceEstimate(prior_s=0.1).is_guess


def test_a_change_that_lasts_is_followed() -> None:
    estimate = ServiceEstimate(prior_s=0.1)
    for _ in range(200):
        estimate.observe(1.0, work=1.0)
    assert estimate.seconds == pytest.approx(1.0, rel=0.01)


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3))
def test_shrinking_moves_towards_the_pool_and_never_past_it(own_s: float, pool_s: float) -> None:
    moved = shrunk(own_s, pool_s)
    assert min(own_s, pool_s) * 0.999999 <= moved <= max(own_s, pool_s) * 1.000001
    assert abs(moved - own_s) <= TRANSLATION * own_s * 1.000001
