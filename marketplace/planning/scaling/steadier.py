"""Lets a number of workers rise at once and fall late. Pure: time comes in."""

from collections import deque


class Steadier:
    """The most that was wished for within the last ``down_after_s``.

    A load that comes and goes keeps its workers, whose start costs more than their idling.
    """

    def __init__(self, down_after_s: float) -> None:
        self._down_after_s = down_after_s
        self._wishes: deque[tuple[float, int]] = deque()

    def count(self, wished: int, now_s: float) -> int:
        """How many there should be now. ``now_s`` never goes back."""
        while self._wishes and now_s - self._wishes[0][0] >= self._down_after_s:
            self._wishes.popleft()
        # Those that a later, greater wish covers will never be the most.
        while self._wishes and self._wishes[-1][1] <= wished:
            self._wishes.pop()
        self._wishes.append((now_s, wished))
        return self._wishes[0][1]
