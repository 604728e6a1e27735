"""Predicting how large a request is, and knowing how badly."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.scheduling.estimates.size import WORK_MAX, WORK_MIN, SizePredictor
from tests.examples import examples


def learned(noise: float, count: int = 2_000, seed: int = 1) -> SizePredictor:
    """A predictor that saw work grow with the 0.8th power of tokens, with log-normal noise."""
    rng = random.Random(seed)
    predictor = SizePredictor()
    for _ in range(count):
        tokens = 10 ** rng.uniform(1, 4)
        work = (tokens / 500) ** 0.8 * math.exp(rng.gauss(0, noise))
        predictor.observe("m", (tokens,), work)
    return predictor


def test_nothing_is_predicted_before_there_is_evidence() -> None:
    predictor = SizePredictor()
    assert predictor.predict("m", (1000.0,)) == 1.0
    assert predictor.log_error("m") is None


def test_it_learns_how_work_grows_with_size() -> None:
    predictor = learned(0.2)
    ratio = predictor.predict("m", (4000.0,)) / predictor.predict("m", (400.0,))
    assert ratio == pytest.approx(10**0.8, rel=0.1)
    error = predictor.log_error("m")
    assert error is not None
    assert error == pytest.approx(0.2, abs=0.08)


def test_a_model_that_it_predicts_badly_is_served_size_blind() -> None:
    assert learned(1.5).predict("m", (4000.0,)) == 1.0


def test_features_that_say_nothing_predict_nothing() -> None:
    rng = random.Random(2)
    predictor = SizePredictor()
    for _ in range(2_000):
        predictor.observe("m", (64.0, 30.0), math.exp(rng.gauss(0, 0.5)))
    assert predictor.predict("m", (64.0, 30.0)) == 1.0


def test_it_stays_sane_however_long_it_learns() -> None:
    predictor = learned(0.4, count=30_000)
    for tokens in (0.0, 1.0, 300.0, 1e9):
        assert WORK_MIN <= predictor.predict("m", (tokens,)) <= WORK_MAX


def test_models_are_learned_apart_and_other_features_start_again() -> None:
    predictor = learned(0.2)
    assert predictor.predict("other", (4000.0,)) == 1.0
    assert predictor.predict("m", (4000.0, 1.0)) == 1.0


def test_it_stays_finite_where_a_feature_hardly_ever_varies() -> None:
    rng = random.Random(3)
    predictor = SizePredictor()
    for number in range(20_000):
        asked = 64.0 if number % 997 else 4096.0
        tokens = 10 ** rng.uniform(1, 4)
        predictor.observe("m", (tokens, asked), (tokens / 500) ** 0.8)
    error = predictor.log_error("m")
    assert error is not None
    assert math.isfinite(error)
    for asked in (64.0, 4096.0):
        predicted = predictor.predict("m", (1000.0, asked))
        assert predicted == pytest.approx(predictor.predict("m", (1000.0, 64.0)), rel=0.2)


def test_it_follows_when_requests_change() -> None:
    rng = random.Random(4)
    predictor = learned(0.1)
    for _ in range(4_000):
        tokens = 10 ** rng.uniform(1, 4)
        predictor.observe("m", (tokens,), (tokens / 500) ** 0.3)
    ratio = predictor.predict("m", (4000.0,)) / predictor.predict("m", (400.0,))
    assert ratio == pytest.approx(10**0.3, rel=0.15)


def test_the_mean_request_is_one_unit_of_work() -> None:
    rng = random.Random(5)
    predictor = learned(0.1, count=8_000)
    predicted = [predictor.predict("m", (10 ** rng.uniform(1, 4),)) for _ in range(4_000)]
    assert sum(predicted) / len(predicted) == pytest.approx(1.0, rel=0.15)


@settings(max_examples=examples(20))
@given(
    st.lists(
        st.tuples(st.floats(-10, 1e12), st.floats(0, 1e9), st.floats(0, 1e6)),
        min_size=60,
        max_size=200,
    )
)
def test_a_prediction_is_sane_whatever_was_observed(
    seen: list[tuple[float, float, float]],
) -> None:
    predictor = SizePredictor()
    for first, second, work in seen:
        predictor.observe("m", (first, second), work)
    for first, second, _ in seen:
        assert WORK_MIN <= predictor.predict("m", (first, second)) <= WORK_MAX
