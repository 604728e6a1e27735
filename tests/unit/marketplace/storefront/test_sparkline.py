"""The line in the catalog."""

from marketplace.storefront.browse.sparkline import sparkline


def test_a_line_goes_from_its_lowest_to_its_highest_across_what_is_missing() -> None:
    line = sparkline([None, 10.0, None, 30.0, 20.0])
    assert line is not None
    assert line.points == "25.0,22.0 75.0,2.0 100.0,12.0"
    assert (line.low_ms, line.high_ms) == (10.0, 30.0)


def test_what_never_changes_is_a_flat_line() -> None:
    line = sparkline([7.0, 7.0])
    assert line is not None
    assert line.points == "0.0,22.0 100.0,22.0"


def test_one_value_is_no_line() -> None:
    assert sparkline([None, 3.0]) is None
    assert sparkline([]) is None
