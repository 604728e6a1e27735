"""From when to when a range in the URL reaches."""

from datetime import UTC, datetime, timedelta

import pytest

from marketplace.usage.models import Span
from marketplace.usage.windows import DAYS_MAX, window_of

NOW = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "start", "until", "span", "points"),
    [
        ({"range": "6h"}, "2026-03-01T06", "2026-03-01T13", Span.HOUR, 7),
        ({"range": "24h"}, "2026-02-28T12", "2026-03-01T13", Span.HOUR, 25),
        ({"range": "7d"}, "2026-02-22T00", "2026-03-02T00", Span.DAY, 8),
        ({"range": "90d"}, "2025-12-01T00", "2026-03-02T00", Span.DAY, 91),
        (
            {"range": "custom", "from": "2026-01-01", "to": "2026-01-01"},
            "2026-01-01T00",
            "2026-01-02T00",
            Span.HOUR,
            24,
        ),
        (
            {"range": "custom", "from": "2026-01-01", "to": "2026-01-31"},
            "2026-01-01T00",
            "2026-02-01T00",
            Span.DAY,
            31,
        ),
    ],
)
def test_a_window_lies_on_whole_hours_or_days(
    query: dict[str, str], start: str, until: str, span: Span, points: int
) -> None:
    window = window_of(query, NOW)
    assert (window.start, window.until) == (
        datetime.fromisoformat(f"{start}:00+00:00"),
        datetime.fromisoformat(f"{until}:00+00:00"),
    )
    assert window.span is span
    assert len(window.points) == points
    assert window.points[0] == window.start


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"range": "nonsense"},
        {"range": "custom"},
        {"range": "custom", "from": "2026-02-02", "to": "2026-02-01"},
        {"range": "custom", "from": "0001-01-01", "to": "2026-02-01"},
        {"range": "custom", "from": "x", "to": "2026-02-01"},
        {"range": "custom", "from": "1969-12-31", "to": "1969-12-31"},
        {"range": "custom", "from": "9998-12-31", "to": "9999-12-31"},
    ],
)
def test_what_makes_no_sense_is_the_last_seven_days(query: dict[str, str]) -> None:
    assert window_of(query, NOW) == window_of({"range": "7d"}, NOW)


def test_a_custom_window_is_bounded() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC).date()
    query = {"range": "custom", "from": str(start), "to": str(start + timedelta(days=DAYS_MAX))}
    assert window_of(query, NOW).name == "custom"
    query["to"] = str(start + timedelta(days=DAYS_MAX + 1))
    assert window_of(query, NOW).name == "7d"
