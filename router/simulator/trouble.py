"""What goes wrong with a worker, and when."""

from enum import StrEnum

from msgspec import Struct


class Trouble(StrEnum):
    """What can happen to a worker."""

    SLOW = "slow"
    """Everything that begins in the window takes ``factor`` times longer."""
    DRIFT = "drift"
    """The same, but it moves evenly from 1 to ``factor`` over the window and stays there. Below 1
    the worker gets faster; a window without length is a jump.
    """
    CRASH = "crash"
    """What runs fails at once, and so does every new request, until the window ends."""
    HANG = "hang"
    """Nothing moves or answers; what was caught fails when the window ends."""


class Event(Struct, frozen=True):
    """Trouble from ``from_s`` to ``to_s``."""

    trouble: Trouble
    from_s: float
    to_s: float
    factor: float = 1.0
