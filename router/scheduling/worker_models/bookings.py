"""When a worker has room, and which of that room is booked."""

import heapq
from abc import abstractmethod
from math import inf

from router.scheduling.worker_models.worker_model import Bounds, WorkerModel


class Bookings(WorkerModel):
    """What the models of both kinds of workers share."""

    __slots__ = ("_planned", "_rests", "bounds")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.limit = bounds.trusted
        self.available_s = 0.0
        self.planned_s = 0.0
        self.recheck_s = -inf
        self._rests = False
        self._planned: list[float] | None = None

    @abstractmethod
    def ends(self) -> list[float]:
        """A heap of the times at which running requests should make room, while there is none."""

    def bounds_changed(self) -> None:
        """The worker is trusted with more requests, or with fewer."""
        self.limit = self.bounds.trusted
        self.recheck_s = -inf

    def plan(self, service_s: float, now_s: float) -> None:
        """Book the earliest room for a request that stays queued."""
        if self._planned is None:
            if self.available_s <= now_s:
                free = self.limit - len(self.bounds.inflight)
                self._planned = [now_s] * max(free, 1)
            else:
                self._planned = self.ends()
        heapq.heapreplace(self._planned, max(self._planned[0], now_s) + service_s)
        self.planned_s = self._planned[0]

    def unplan(self) -> None:
        """Forget all bookings."""
        if self._planned is not None:
            self._planned = None
            self.planned_s = self.available_s
