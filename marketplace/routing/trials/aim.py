"""What a trial is for. A module of its own: models need it, and `trial` takes SciPy to load."""

from enum import StrEnum


class Aim(StrEnum):
    """What a promotion has to have shown."""

    LATENCY = "latency"
    MISSES = "misses"
    NOT_WORSE = "not_worse"
    """Its gain is everybody's and was shown by replay; its own calls must not pay for it."""
