"""When each worker's slots come free, as far as can be expected, during one scheduling pass.

A virtual list schedule: tickets placed ahead in the same pass reserve time, so the next one sees
the queue as it will be. What is in flight is evidence too: the older it gets against the estimate,
the slower the worker is taken to be (a censored observation), so that a hung worker loses its
appeal before anything has completed or failed.
"""

import heapq

from router.scheduling.fleet import EndpointState, WorkerState

AGE_TOLERANCE = 1.5
RESIDUAL_FLOOR = 0.25


class _Slots:
    """One worker's slots: how many are free now, and a heap of seconds until the others are."""

    __slots__ = ("busy", "free")

    def __init__(self, free: int, busy: list[float]) -> None:
        self.free = free
        self.busy = busy


class Horizon:
    """Expected waits and service times at ``now_s``; lives for one pass."""

    __slots__ = ("_slots", "_slowdown", "now_s")

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self._slots: dict[str, _Slots] = {}
        self._slowdown: dict[str, float] = {}

    def service_s(self, state: EndpointState, work: float) -> float:
        """Expected seconds of service for ``work`` units on this endpoint."""
        return state.estimate.seconds * work * self._slowdown_of(state.worker)

    def wait_s(self, worker: WorkerState) -> float:
        """Expected seconds until a slot comes free: 0 when one is."""
        slots = self._slots.get(worker.id)
        if slots is None:
            if worker.free_slots > 0:
                return 0.0
            slots = self._slots_of(worker)
        return 0.0 if slots.free > 0 else slots.busy[0]

    def dispatched(self, worker: WorkerState, service_s: float) -> None:
        """Count an attempt that was dispatched in this pass.

        A worker that the pass has not looked into yet has it among what is in flight already.
        """
        if worker.id in self._slots:
            self.reserve(worker, service_s)

    def reserve(self, worker: WorkerState, service_s: float) -> None:
        """Book the earliest slot for a ticket that stays queued."""
        slots = self._slots.get(worker.id) or self._slots_of(worker)
        if slots.free > 0:
            slots.free -= 1
            heapq.heappush(slots.busy, service_s)
        else:
            heapq.heapreplace(slots.busy, slots.busy[0] + service_s)

    def _slots_of(self, worker: WorkerState) -> _Slots:
        slowdown = self._slowdown_of(worker)
        running: list[float] = []
        waiting: list[float] = []
        for attempt in worker.inflight.values():
            expected = attempt.endpoint.estimate.seconds * attempt.ticket.work * slowdown
            if attempt.waiting:
                waiting.append(expected)
            else:
                age = self.now_s - attempt.started_s
                running.append(max(expected - age, RESIDUAL_FLOOR * expected))
        heapq.heapify(running)
        slots = self._slots[worker.id] = _Slots(worker.slots - len(running), running)
        for expected in waiting:
            self.reserve(worker, expected)
        return slots

    def _slowdown_of(self, worker: WorkerState) -> float:
        """How much slower than its estimate the worker looks, from the age of what runs there."""
        inflight = worker.inflight
        if not inflight:
            return 1.0
        slowdown = self._slowdown.get(worker.id)
        if slowdown is None:
            age = expected = 0.0
            for attempt in inflight.values():
                if not attempt.waiting:
                    age += self.now_s - attempt.started_s
                    expected += attempt.endpoint.estimate.seconds * attempt.ticket.work
            slowdown = max(1.0, age / (AGE_TOLERANCE * expected)) if expected else 1.0
            self._slowdown[worker.id] = slowdown
        return slowdown
