"""Calendar months in UTC: the periods of invoices."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

YEARS = range(1970, 9999)
"""Years whose months, and those beside them, ``datetime`` can express."""
_TEXT = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month from ``start`` to ``end`` (excluded)."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> "Month":
        """The month of a text like ``2026-10``. Raises ``ValueError`` for any other."""
        found = _TEXT.fullmatch(text)
        if found is None or int(found[1]) not in YEARS:
            raise ValueError(f"{text!r} is not a month; give one as 2026-10")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, moment: date | datetime) -> "Month":
        """The month of a date or an aware datetime."""
        day = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
        return cls(day.year, day.month)

    @property
    def first_day(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def start(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        return self.next.start

    @property
    def next(self) -> "Month":
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def previous(self) -> "Month":
        return Month(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"
