"""A fleet is cut into regions that each carry their part of it."""

import sys
from itertools import starmap

import pytest

from router.simulator.__main__ import main
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


@pytest.mark.parametrize("asked", ["10,10,0", "10,10,-1", "9,10,10", "10,9,10"])
def test_a_region_without_a_worker_or_a_router_is_refused_in_one_line(
    asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulator", "--capacity", asked])
    assert main() == 2
    assert capsys.readouterr().err == "simulator: each region needs a worker and a router\n"
