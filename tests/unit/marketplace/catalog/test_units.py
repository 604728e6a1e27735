"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.catalog.templatetags.units import duration, per_second, percent_of, usd


@pytest.mark.parametrize(
    ("amount_nano", "shown"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (2_940, "$0.00000294"),
        (15_000_000, "$0.015"),
        (500_000_000, "$0.50"),
        (650_000_000, "$0.65"),
        (999_900_000, "$1.00"),
        (24_990_000_000, "$24.99"),
        (-5_000_000_000, "−$5.00"),
        (None, "–"),
    ],
)
def test_dollars_keep_the_digits_that_matter(amount_nano: int | None, shown: str) -> None:
    assert usd(amount_nano) == shown


@given(st.integers(1, 10**15))
def test_no_amount_is_shown_as_nothing(amount_nano: int) -> None:
    assert any(digit in usd(amount_nano) for digit in "123456789")


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, "–"), (0.0, "–"), (2.54, "2.5 ms"), (176.4, "176 ms"), (5302.0, "5.30 s")],
)
def test_durations_have_their_unit(milliseconds: float | None, shown: str) -> None:
    assert duration(milliseconds) == shown


def test_rates_and_shares() -> None:
    assert per_second(None) == "–"
    assert per_second(71.6) == "72 tok/s"
    assert percent_of(1, 4) == "25.00"
    assert percent_of(1, 0) == "0"
