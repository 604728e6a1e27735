"""When each worker's slots come free, as far as can be expected, during one scheduling pass.

A virtual list schedule: tickets placed ahead in the same pass reserve time, so the next one sees
the queue as it will be. What is in flight is evidence too: the older it gets against the estimate,
the slower the worker is taken to be (a censored observation), so that a hung worker loses its
appeal before anything has completed or failed.
"""

from router.scheduling.fleet import EndpointState, WorkerState

AGE_TOLERANCE = 1.5
RESIDUAL_FLOOR = 0.25


class Horizon:
    """Expected waits and service times at ``now_s``; lives for one pass."""

    __slots__ = ("_free_at", "_slowdown", "now_s")

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self._free_at: dict[str, list[float]] = {}
        self._slowdown: dict[str, float] = {}

    def service_s(self, state: EndpointState, work: float) -> float:
        """Expected seconds of service for ``work`` units on this endpoint."""
        return state.estimate.seconds * work * self._slowdown_of(state.worker)

    def wait_s(self, worker: WorkerState) -> float:
        """Expected seconds until a slot comes free: 0 when one is."""
        return min(self._slots_of(worker))

    def reserve(self, worker: WorkerState, service_s: float) -> None:
        """Book the earliest slot for a ticket that stays queued or was just placed."""
        slots = self._slots_of(worker)
        earliest = min(range(len(slots)), key=slots.__getitem__)
        slots[earliest] += service_s

    def _slots_of(self, worker: WorkerState) -> list[float]:
        slots = self._free_at.get(worker.id)
        if slots is None:
            slots = self._free_at[worker.id] = self._residuals(worker)
        return slots

    def _residuals(self, worker: WorkerState) -> list[float]:
        if not worker.inflight:
            return [0.0] * worker.slots
        slowdown = self._slowdown_of(worker)
        running: list[float] = []
        queued: list[float] = []
        for attempt in worker.inflight.values():
            expected = attempt.endpoint.estimate.seconds * attempt.ticket.work * slowdown
            if attempt.waiting:
                queued.append(expected)
            else:
                age = self.now_s - attempt.started_s
                running.append(max(expected - age, RESIDUAL_FLOOR * expected))
        running.extend([0.0] * (worker.slots - len(running)))
        for expected in queued:
            earliest = min(range(len(running)), key=running.__getitem__)
            running[earliest] += expected
        return running

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
