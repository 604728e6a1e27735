"""The interval of a live mean over its profile's."""

import math

import pytest
from scipy import stats

from marketplace.tuning.drift.detection import LEVEL, Live, drift_of


def test_what_the_profile_may_be_off_counts_by_the_ratio() -> None:
    # Both of 150 calls that vary by half of their mean: four times as slow, and four times as wide.
    live = Live(deployment_id=1, samples=150, mean_ms=400.0, variance=200.0**2)
    found = drift_of(live, profile_ms=100.0, profile_samples=150)
    relative = math.sqrt((0.5**2 + 0.5**2) / 150)
    quantile = float(stats.t.ppf(1 - LEVEL / 2, 298))
    assert found.high - found.ratio == pytest.approx(quantile * relative * 4.0)
    assert found.is_drift
