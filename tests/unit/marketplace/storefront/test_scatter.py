"""Where points and ticks of a chart lie."""

import pytest

from marketplace.storefront.scatter import LEFT, MARKERS, Axis, Point, scatter

AXIS = Axis("of something", lambda value: f"{value:g}")


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0.0, [0, 1]),
        (3.0, [0, 1, 2, 3]),
        (7.9, [0, 2, 4, 6, 8]),
        (950.0, [0, 200, 400, 600, 800, 1000]),
        (0.004, [0, 0.001, 0.002, 0.003, 0.004]),
    ],
)
def test_axes_begin_at_zero_and_reach_the_highest_in_round_steps(
    highest: float, ticks: list[float]
) -> None:
    picture = scatter([Point(highest, 1, 0, "A1", "")], AXIS, AXIS)
    assert [float(tick.text) for tick in picture.x_ticks] == pytest.approx(ticks)


def test_points_lie_within_the_axes_and_each_series_has_its_shape() -> None:
    picture = scatter([Point(i * 10.0, i + 1.0, i, f"{i}", "") for i in range(4)], AXIS, AXIS)
    assert {mark.path for mark in picture.marks} == set(MARKERS)
    assert picture.marks[0].x == LEFT
    assert all(picture.left <= mark.x <= picture.right for mark in picture.marks)
    assert all(picture.top <= mark.y <= picture.bottom for mark in picture.marks)


def test_labels_that_would_leave_the_picture_are_on_the_left() -> None:
    near, far = scatter([Point(1, 1, 0, "a", ""), Point(9, 1, 0, "b", "")], AXIS, AXIS).marks
    assert (near.is_far_right, far.is_far_right) == (False, True)


def test_no_points_draw_an_empty_picture() -> None:
    assert scatter([], AXIS, AXIS).marks == []
