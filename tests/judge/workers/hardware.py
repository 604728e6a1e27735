"""The parts of a fleet: emulated workers of a class, and their troubles."""

from enum import StrEnum

from msgspec import Struct

from router.simulator.engines.batching import EngineSpec


class Trouble(StrEnum):
    """What can happen to a worker."""

    SLOW = "slow"
    """Everything that begins takes ``factor`` times as long."""
    CRASH = "crash"
    """The process is gone: connections are reset and no new ones taken."""
    HANG = "hang"
    """Nothing moves or answers, health included; what was caught in it is lost at the end."""
    HTTP_500 = "http500"
    """Every call is answered at once, with an error."""
    LIMIT = "limit"
    """More than ``factor`` calls a second are answered 429."""


class Window(Struct, frozen=True):
    """Trouble from ``from_s`` to ``to_s``, counted from the start of the load."""

    trouble: Trouble
    from_s: float
    to_s: float
    factor: float = 1.0


class Allowance:
    """A rate limit in calls per second, with a burst of one second."""

    def __init__(self, calls_hz: float) -> None:
        self._calls_hz = calls_hz
        self._left, self._at_s = calls_hz, 0.0

    def left(self, at_s: float) -> float:
        """Calls that are allowed now; times never decrease."""
        self._left = min(self._left + (at_s - self._at_s) * self._calls_hz, self._calls_hz)
        self._at_s = at_s
        return self._left

    def take(self) -> None:
        """One of them."""
        self._left -= 1


class SlotClass(Struct, frozen=True):
    """Workers with ``slots`` calls at once; others wait, first come, first served.

    A service takes ``mean_ms`` on average, lognormal with ``sigma``. Of a stream's time the share
    ``first_share`` passes before the first of its ``events``.
    """

    kind: str
    mean_ms: float
    slots: int = 3
    sigma: float = 0.5
    events: int = 20
    first_share: float = 0.3


Hardware = SlotClass | EngineSpec


class Worker(Struct, frozen=True):
    """One worker of the fleet: what it is, and what happens to it."""

    name: str
    hardware: Hardware
    windows: tuple[Window, ...] = ()

    @property
    def slots(self) -> int:
        """How many calls it handles at once, as an operator would configure it."""
        hardware = self.hardware
        return hardware.slots if isinstance(hardware, SlotClass) else hardware.sequences_max


def fleet(*classes: tuple[int, Hardware]) -> tuple[Worker, ...]:
    """The given number of workers of each class, named w00, w01, …"""
    each = [hardware for count, hardware in classes for _ in range(count)]
    return tuple(Worker(f"w{at:02}", hardware) for at, hardware in enumerate(each))


def capacity_hz(workers: tuple[Worker, ...]) -> float:
    """Calls a second at which every slot of the fleet is busy. Slots only."""
    total = 0.0
    for worker in workers:
        assert isinstance(worker.hardware, SlotClass)
        total += worker.hardware.slots / worker.hardware.mean_ms * 1e3
    return total
