"""Numbers as people read them."""

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from marketplace.catalog.models import Offer
from marketplace.catalog.prices import unit_price_text, usd_text
from marketplace.catalog.templatetags.units import (
    change_from,
    dollars,
    duration,
    per_second,
    percent_of,
    share,
    significant,
    time_left,
    unit_prices,
    usd,
)


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
        (1_234_500_000_000, "$1,234.50"),
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


def test_dollars_are_written_as_nano_dollars_are() -> None:
    assert dollars(2.5) == usd(2_500_000_000) == "$2.50"
    assert dollars(None) == usd(None)


def test_a_share_has_as_many_decimals_as_are_asked_for() -> None:
    assert (share(0.98765), share(0.98765, 2), share(-0.2, 0)) == ("98.8", "98.77", "-20")


@pytest.mark.parametrize(
    ("value", "shown"), [(0.123456, "0.1235"), (99.9, "99.9"), (20.0, "20"), (123_456.0, "123500")]
)
def test_four_digits_matter(value: float, shown: str) -> None:
    assert significant(value).replace(",", "") == shown


@pytest.mark.parametrize(
    ("now", "then", "shown"),
    [(3, 2, "+50 %"), (1, 2, "−50 %"), (2, 2, "+0 %"), (0, 2, "−100 %"), (24, 2, "×12")],
)
def test_a_change_has_its_sign(now: int, then: int, shown: str) -> None:
    assert change_from(now, then) == shown


@pytest.mark.parametrize(
    ("unit", "row_nano", "shown"),
    [
        ("rows", 250, "$0.25 per 1M rows"),
        ("inputs", 2_000, "$2.00 per 1M inputs"),
        ("characters", 15_000, "$15.00 per 1M characters"),
        ("search_units", 2_000_000, "$2.00 per 1K search units"),
        ("audio_seconds", 100_000, "$0.36 per hour of sound"),
    ],
)
def test_the_price_of_something_small_is_told_for_many(
    unit: str, row_nano: int, shown: str
) -> None:
    ((price, per),) = unit_prices(Offer(unit=unit, row_nano=row_nano))
    assert f"{usd(price)} {per}" == shown


@pytest.mark.parametrize(
    ("unit_nano", "per", "shown"),
    [
        (250, 1, "$0.25 per 1M"),
        (999_999, 1, "$999.999 per 1M"),
        (1_000_000, 1, "$0.001"),
        (20, 1_000_000, "$0.00000002 per 1M"),
        (0, 1, "$0.00"),
    ],
)
def test_a_line_has_a_price_that_people_can_read(unit_nano: int, per: int, shown: str) -> None:
    assert unit_price_text(unit_nano, per) == shown


def test_money_has_its_thousands_apart_in_the_readers_notation() -> None:
    with translation.override("pt-br"):
        assert usd(1_234_500_000_000) == usd_text(1_234_500_000_000, 2) == "$1.234,50"
        assert dollars(-1_234_567.5) == "−$1.234.567,50"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (1, "about 1 s left"), (89, "about 89 s left"), (200, "about 3 min left")],
)
def test_how_long_something_takes_is_told_as_nearly_as_people_care(
    seconds: int | None, shown: str
) -> None:
    assert time_left(seconds) == shown
