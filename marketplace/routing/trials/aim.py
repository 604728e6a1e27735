"""The aim of a trial. A separate module: models need it, and `trial` imports SciPy."""

from enum import StrEnum


class Aim(StrEnum):
    """What a trial must show to be promoted."""

    LATENCY = "latency"
    MISSES = "misses"
    NOT_WORSE = "not_worse"
    """The replay showed the gain; the canary's own calls must not be worse."""
