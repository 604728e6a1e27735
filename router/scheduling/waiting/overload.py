"""Whether more streams come than engines can answer in time, and for longer than a moment.

While that lasts, engines are kept at what people can read along with
(:mod:`router.scheduling.worker_models.reading`): some are answered well instead of all badly. It
costs throughput. After a burst, or once engines that were slow are fast again, full engines end the
queue soonest, and with it everybody's wait. So an overload counts only when it lasts. Batch work
can wait, so while any does, others are answered well beside it.
"""

from collections import deque
from math import inf

from router.scheduling.waiting.queue import QueuedTicket

LASTING_S = 10.0
"""An overload lasts when streams have become late for this long."""

PAUSE_S = 3.0
"""It is over when none has become late for this long."""


class Overload:
    """See the module."""

    __slots__ = ("_batch", "_fresh", "_latest_s", "_since_s")

    def __init__(self) -> None:
        self._batch: deque[QueuedTicket] = deque()
        self._fresh: deque[QueuedTicket] = deque()
        self._since_s = self._latest_s = -inf

    def queued(self, queued: QueuedTicket) -> None:
        """A ticket waits from now on."""
        if queued.late_s == -inf:
            self._batch.append(queued)
        elif queued.late_s < inf:
            self._fresh.append(queued)

    def lasts(self, now_s: float) -> bool:
        """Whether streams have become late for a while without a pause, or batch work waits."""
        batch, fresh = self._batch, self._fresh
        while batch and not batch[0].is_waiting:
            batch.popleft()
        while fresh and fresh[0].late_s <= now_s:
            queued = fresh.popleft()
            if queued.is_waiting:
                self._became_late(queued.late_s)
        is_lasting = now_s - self._latest_s < PAUSE_S and now_s - self._since_s >= LASTING_S
        return is_lasting or bool(batch)

    def _became_late(self, late_s: float) -> None:
        if late_s - self._latest_s > PAUSE_S:
            self._since_s = late_s
        self._latest_s = max(self._latest_s, late_s)
