"""A day as a number of people at work: quiet at night, two peaks, and bursts. Pure."""

import math
from dataclasses import dataclass
from random import Random

HOURS = 24.0
NIGHT_SHARE = 0.05
"""Of the peak, who is there at night."""

PEAKS = ((10.5, 2.0, 1.0), (19.5, 2.5, 0.85))
"""Morning and evening: the hour, how many hours wide (standard deviation), share of the peak."""

BURSTS_A_DAY = 4
BURST_HOURS = 0.4
BURST_FACTOR = 1.6
"""A burst (a campaign, a batch that somebody starts) has this many times the people for a while."""

BURST_FROM_H, BURST_TO_H = 8.0, 22.0


@dataclass(frozen=True)
class Day:
    """A day of 24 hours in ``minutes``, with ``peak_users`` in the morning outside of bursts."""

    minutes: float
    peak_users: int
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 24 * 60 or self.peak_users < 1:
            raise ValueError(
                f"a day takes up to 1440 minutes and has a user at least, "
                f"not {self.minutes:g} minutes and {self.peak_users} users"
            )

    def bursts(self) -> list[float]:
        """The hours at which bursts begin, by the seed."""
        rng = Random(f"day-{self.seed}")
        return sorted(rng.uniform(BURST_FROM_H, BURST_TO_H) for _ in range(BURSTS_A_DAY))

    def hour(self, passed_s: float) -> float:
        """What time it is in the day, ``passed_s`` seconds of real time after its beginning."""
        return passed_s / (self.minutes * 60) * HOURS

    def users(self, hour: float) -> int:
        """How many people are at work at this hour; one at least."""
        share = max(
            NIGHT_SHARE,
            *(height * math.exp(-(((hour - at) / width) ** 2) / 2) for at, width, height in PEAKS),
        )
        if any(begun <= hour < begun + BURST_HOURS for begun in self.bursts()):
            share *= BURST_FACTOR
        return max(1, round(share * self.peak_users))

    def at(self, passed_s: float) -> int | None:
        """The number of users now, None when the day is over."""
        hour = self.hour(passed_s)
        return None if hour >= HOURS else self.users(hour)
