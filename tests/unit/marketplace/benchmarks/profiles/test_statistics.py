"""Intervals that cover, knees where they are, curves that never fall."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.benchmarks.profiles.statistics import (
    isotonic,
    knee,
    mean,
    percentile,
    service_fit,
    summary,
)

values = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=300)


def closed_loop(load: float, *, slots: int, service_ms: float) -> tuple[float, float]:
    """Latency and rate of a server with slots and a fixed service time, at a concurrency."""
    rate_hz = min(load, slots) / service_ms * 1e3
    return max(service_ms, load / rate_hz * 1e3), rate_hz


@given(values, st.sampled_from([0.5, 0.9, 0.99]))
def test_an_interval_holds_its_value_and_lies_among_the_values(
    found: list[float], q: float
) -> None:
    value, low, high = percentile(found, q)
    assert min(found) <= low <= value <= high <= max(found)
    assert sum(x <= value for x in found) >= q * len(found)
    average, least, most = mean(found)
    assert least <= average <= most


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_the_interval_of_a_percentile_covers_the_true_one_as_often_as_it_says(q: float) -> None:
    rng = random.Random(7)
    true = -math.log(1 - q)
    covered = 0
    for _ in range(400):
        _value, low, high = percentile([rng.expovariate(1) for _ in range(150)], q)
        covered += low <= true <= high
    # Order statistics are conservative: at least 95 %, within the noise of 400 trials.
    assert covered / 400 > 0.925


def test_the_interval_of_a_mean_covers_it() -> None:
    rng = random.Random(11)
    covered = 0
    for _ in range(400):
        _average, low, high = mean([rng.gauss(10, 3) for _ in range(20)])
        covered += low <= 10 <= high
    assert 0.92 < covered / 400 < 0.98


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile([1], 1)
    assert summary([]) == {}


@given(st.integers(1, 32), st.floats(1, 1000))
def test_the_knee_of_a_server_with_slots_is_at_its_slots(slots: int, service_ms: float) -> None:
    points = [closed_loop(n, slots=slots, service_ms=service_ms) for n in range(1, 65)]
    found = knee(*zip(*points, strict=True))
    assert found == slots - 1


def test_there_is_no_knee_without_goodput() -> None:
    assert knee([10], [0]) is None
    assert knee([], []) is None


@given(
    st.floats(0.5, 500),
    st.floats(0, 1),
    st.lists(st.integers(1, 64), min_size=2, max_size=8, unique=True),
)
def test_a_line_of_service_times_is_found_again(
    alone: float, share: float, loads: list[int]
) -> None:
    times = [alone * (1 + share * (n - 1)) for n in loads]
    found = service_fit(loads, times, [100] * len(loads))
    assert found.alone_ms == pytest.approx(alone, rel=1e-6, abs=1e-2)
    assert found.measured is (1 in loads)
    factors = [factor for _n, factor in found.curve]
    assert factors == sorted(factors)
    assert found.curve[0] == (1, 1.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 50)), min_size=1, max_size=30))
def test_an_isotonic_fit_never_falls_and_keeps_the_mean(pairs: list[tuple[float, float]]) -> None:
    heights, weights = [a for a, _ in pairs], [w for _, w in pairs]
    fit = isotonic(heights, weights)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(fit))
    whole = sum(w * x for w, x in zip(weights, heights, strict=True))
    assert sum(w * x for w, x in zip(weights, fit, strict=True)) == pytest.approx(whole, abs=1e-6)


def test_noise_that_makes_two_faster_than_one_is_taken_out() -> None:
    found = service_fit([1, 2, 4], [10, 9, 15], [100, 100, 100])
    assert found.alone_ms == 9.5
    assert found.curve == ((1, 1.0), (2, 1.0), (4, round(15 / 9.5, 4)))
