"""Weights follow what calls took, there and back."""

from marketplace.routing.trials.evidence import Bias
from marketplace.tuning.drift.calibration import weights_after


def bias(ratio: float) -> Bias:
    return Bias(deployment_id=1, samples=500, ratio=ratio, low=ratio - 0.02, high=ratio + 0.02)


def test_a_weight_that_corrects_nothing_any_more_goes_back_to_one() -> None:
    assert weights_after({1: 0.5}, [bias(1.0)]) == {1: 0.6}
    assert weights_after({1: 2.0, 2: 1.5}, [bias(1.0)]) == {1: 1.6, 2: 1.5}
    assert weights_after({1: 1.0}, [bias(1.0)]) is None


def test_a_weight_that_corrects_what_is_off_stays() -> None:
    assert weights_after({}, [bias(2.0)]) == {1: 0.8}
    assert weights_after({1: 0.5}, [bias(2.0)]) is None
