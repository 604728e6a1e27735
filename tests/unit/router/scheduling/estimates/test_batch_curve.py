"""Service time against concurrency."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.estimates.batch_curve import FACTOR_MIN, BatchCurve


@st.composite
def curves(draw: st.DrawFn) -> tuple[tuple[int, float], ...]:
    at = sorted(draw(st.sets(st.integers(2, 64), min_size=1, max_size=6)))
    return tuple((concurrency, draw(st.floats(0.1, 20))) for concurrency in at)


@given(curves())
def test_a_curve_goes_through_its_points(points: tuple[tuple[int, float], ...]) -> None:
    curve = BatchCurve(points)
    for concurrency, factor in points:
        assert curve.factor(concurrency) == pytest.approx(factor)


@given(curves(), st.integers(1, 500))
def test_a_factor_has_a_lower_bound(points: tuple[tuple[int, float], ...], count: int) -> None:
    assert BatchCurve(points).factor(count) >= FACTOR_MIN


@given(curves())
def test_a_factor_lies_between_those_of_its_neighbouring_points(
    points: tuple[tuple[int, float], ...],
) -> None:
    curve = BatchCurve(points)
    for (low, low_factor), (high, high_factor) in pairwise(points):
        least, most = sorted((low_factor, high_factor))
        for concurrency in range(low, high + 1):
            assert least - 1e-9 <= curve.factor(concurrency) <= most + 1e-9


def test_a_curve_begins_with_one_alone() -> None:
    curve = BatchCurve(((5, 3.0),))
    assert [curve.factor(n) for n in (1, 3, 5, 9)] == pytest.approx([1.0, 2.0, 3.0, 5.0])


def test_only_a_curve_without_points_is_flat() -> None:
    assert BatchCurve().is_flat
    assert not BatchCurve(((1, 1.0),)).is_flat


@pytest.mark.parametrize("points", [((4, 2.0), (4, 3.0)), ((8, 1.0), (4, 1.0)), ((1, 0.0),)])
def test_a_batch_curve_that_makes_no_sense_is_refused(points: tuple) -> None:
    with pytest.raises(ValueError, match="batch curve"):
        BatchCurve(points)
