"""The window and the filters of a usage page, from its URL.

Bounds lie on whole hours or days (UTC), as rollups do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.utils.translation import gettext_lazy as _

from marketplace.shared.numbers import whole
from marketplace.usage.models import Span
from router.domain.outcome import Outcome

RANGES = {
    "6h": (_("Last 6 hours"), timedelta(hours=6)),
    "24h": (_("Last 24 hours"), timedelta(days=1)),
    "7d": (_("Last 7 days"), timedelta(days=7)),
    "30d": (_("Last 30 days"), timedelta(days=30)),
    "90d": (_("Last 90 days"), timedelta(days=90)),
}
CUSTOM = "custom"
DEFAULT = "7d"
HOURLY_MAX = timedelta(days=2)
"""Longer windows use days."""
STEPS = {Span.HOUR: timedelta(hours=1), Span.DAY: timedelta(days=1)}
DAYS_MAX = 1_100
"""The most points of a chart: three years of days."""
LOOK_BACK = timedelta(hours=1)
"""Calls usually settle within it, so sums of this hour and the one before are made anew."""
YEARS = range(1970, 9999)
"""Years that both request ids and ``datetime`` can express."""


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``until`` (excluded), both on whole ``span``, the step of a chart."""

    name: str
    start: datetime
    until: datetime
    span: Span

    @property
    def points(self) -> list[datetime]:
        """The start of each step."""
        step = STEPS[self.span]
        return [self.start + i * step for i in range((self.until - self.start) // step)]

    @property
    def before(self) -> "Window":
        """The window of the same length that ends where this one starts."""
        return replace(self, start=self.start - (self.until - self.start), until=self.start)


def window_of(query: Mapping[str, str], now: datetime) -> Window:
    """The window of ``?range=``, with ``from`` and ``to`` (dates, both included) for a custom one.

    An invalid range is the default one.
    """
    name = query.get("range", "")
    if name == CUSTOM:
        days = _day(query.get("from", "")), _day(query.get("to", ""))
        if days[0] and days[1] and timedelta() <= days[1] - days[0] <= timedelta(days=DAYS_MAX):
            return _window(CUSTOM, days[0], days[1] + timedelta(days=1))
    if name not in RANGES:
        name = DEFAULT
    return _window(name, now - RANGES[name][1], now)


def shortest_range(since: datetime | None, now: datetime) -> str:
    """The shortest of `RANGES` that begins by ``since``; `DEFAULT` if nothing is known or it is
    longer ago.
    """
    if since is None:
        return DEFAULT
    reaching = (name for name, (_label, back) in RANGES.items() if since >= now - back)
    name = next(reaching, DEFAULT)
    return name if RANGES[name][1] < RANGES[DEFAULT][1] else DEFAULT


def filters_of(query: Mapping[str, str]) -> dict[str, Any]:
    """The valid filters of ``?model=&outcome=&key=&member=``, by the rollups' fields."""
    filters: dict[str, Any] = {}
    if model := query.get("model"):
        filters["model"] = model
    if (outcome := query.get("outcome")) in set(Outcome):
        filters["outcome"] = outcome
    for name, kept_as in (("key", "key_id"), ("member", "user_id")):
        if (value := whole(query.get(name, ""))) is not None:
            filters[kept_as] = value
    return filters


def _window(name: str, start: datetime, until: datetime) -> Window:
    span = Span.HOUR if until - start <= HOURLY_MAX else Span.DAY
    floor, step = _floor(until, span), STEPS[span]
    return Window(name, _floor(start, span), floor if floor == until else floor + step, span)


def edges_of(now: datetime, look_back: timedelta = LOOK_BACK) -> dict[Span, datetime]:
    """By span, from which hour or day on sums may still change."""
    return {span: _floor(now - look_back, span) for span in (Span.HOUR, Span.DAY)}


def _floor(at: datetime, span: Span) -> datetime:
    at = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return at if span is Span.HOUR else at.replace(hour=0)


def _day(text: str) -> datetime | None:
    try:
        day = datetime.combine(date.fromisoformat(text), datetime.min.time(), tzinfo=UTC)
    except ValueError:
        return None
    return day if day.year in YEARS else None
