"""What goes wrong in a company's day, and when. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    """What is done to a service's processes."""

    KILL = "killed"
    FREEZE = "stopped by SIGSTOP"
    REPLACE = "asked to end, and started again"


@dataclass(frozen=True, slots=True)
class Fault:
    """``services`` are of the local stack. ``frozen_s`` is how long a freeze lasts."""

    name: str
    services: tuple[str, ...]
    act: Act
    frozen_s: float = 0.0


FAULTS = (
    Fault("worker hang", ("llama-fast",), Act.FREEZE, 15.0),
    Fault("worker kill", ("llama-small",), Act.KILL),
    Fault("router kill", ("router",), Act.KILL),
    Fault("database outage", ("postgres",), Act.FREEZE, 20.0),
    Fault("broker kill", ("valkey",), Act.KILL),
    Fault("deploy", ("web", "router"), Act.REPLACE),
)


@dataclass(frozen=True, slots=True)
class Window:
    """When a fault may be felt, in Unix seconds: from its beginning until the parts are back."""

    fault: Fault
    from_s: float
    until_s: float

    def overlaps(self, from_s: float, until_s: float) -> bool:
        """Whether a call of this time may have felt it."""
        return from_s < self.until_s and until_s > self.from_s


def starts(day_s: float, faults: Sequence[Fault] = FAULTS) -> list[tuple[float, Fault]]:
    """Seconds after the day's beginning, spread so that each has as much time to itself."""
    return [(day_s * (n + 0.5) / len(faults), fault) for n, fault in enumerate(faults)]
