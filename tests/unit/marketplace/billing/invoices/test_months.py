"""Months as invoices count them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.billing.invoices.months import Month


@given(st.dates(date(1970, 1, 1), date(2999, 12, 31)))
def test_a_day_is_in_its_month_and_in_no_neighbour(day: date) -> None:
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    month = Month.of(day)
    assert month.start <= moment < month.end
    assert month.next.previous == month == Month.parse(str(month))
    assert month.previous.end == month.start


def test_a_moment_belongs_to_its_month_in_utc() -> None:
    sao_paulo = timezone(timedelta(hours=-3))
    assert Month.of(datetime(2026, 10, 31, 22, tzinfo=sao_paulo)) == Month(2026, 11)


@pytest.mark.parametrize(
    "text",
    ["2026-13", "2026-1", "2026-00", "October", "2026-10-01", "", "0000-01", "1969-12", "9999-01"],
)
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a month"):
        Month.parse(text)
