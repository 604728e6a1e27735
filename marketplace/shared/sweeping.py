"""Deleting what is old, by the piece: all of it in one statement would take too long."""

import time
from collections.abc import Callable

FOR_S = 60.0
"""What is left then is for the next run: a task has a time limit."""


def swept(piece: Callable[[], int]) -> int:
    """Delete one piece after another until nothing is left of them; returns how many went.

    Where more is made between two runs than one piece has, only that keeps up.
    """
    gone, until_s = 0, time.monotonic() + FOR_S
    while time.monotonic() < until_s and (count := piece()):
        gone += count
    return gone
