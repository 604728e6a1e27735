"""A fleet is cut into regions that each carry their part of it."""

from itertools import starmap

import pytest

from router.simulator.slots.capacity import Layout, carried, layouts


def test_a_fleet_is_run_whole_and_as_one_of_its_regions() -> None:
    assert list(layouts(1_000, 100, 10)) == list(
        starmap(
            Layout, ((1_000, 100, False), (1_000, 100, True), (100, 10, False), (100, 10, True))
        )
    )
    assert len(list(layouts(24, 2, 1))) == 2


@pytest.mark.parametrize("shared", [False, True])
def test_what_arrives_grows_with_the_workers(shared: bool) -> None:
    small, large = (carried(Layout(count, 2, shared), 0.5, 300, 1) for count in (12, 24))
    assert large.calls_hz == pytest.approx(2 * small.calls_hz)
    assert small.figures.errors == large.figures.errors == 0
    assert large.figures.answered > 200
