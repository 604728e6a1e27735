"""What the scheduler knows about workers and about what runs on them."""

from collections.abc import Iterable

from router.domain.catalog import Endpoint
from router.scheduling.ejection import Ejection
from router.scheduling.estimate import ServiceEstimate
from router.scheduling.ticket import Ticket


class Attempt:
    """One ticket on one endpoint. It holds a slot from dispatch until the last token.

    ``started_s`` is when the worker is thought to have begun: dispatch, or the moment when the
    work ahead of it on that worker ended (``waiting`` until then).
    """

    __slots__ = ("dispatched_s", "endpoint", "id", "started_s", "ticket", "waiting")

    def __init__(self, id_: int, ticket: Ticket, endpoint: "EndpointState", now_s: float) -> None:
        self.id = id_
        self.ticket = ticket
        self.endpoint = endpoint
        self.dispatched_s = now_s
        self.started_s = now_s
        self.waiting = endpoint.worker.free_slots <= 0


class WorkerState:
    """One inference server: its limit, what runs on it, and whether it is trusted."""

    __slots__ = ("ejection", "id", "inflight", "slots")

    def __init__(self, id_: str, slots: int) -> None:
        self.id = id_
        self.slots = slots
        self.inflight: dict[int, Attempt] = {}
        self.ejection = Ejection()

    @property
    def free_slots(self) -> int:
        """Slots minus what is in flight; negative while the overcommit credit is used."""
        return self.slots - len(self.inflight)

    def release(self, attempt: Attempt, now_s: float) -> bool:
        """Give the slot back, once. The next one that waits on the worker begins now."""
        if self.inflight.pop(attempt.id, None) is None:
            return False
        if not attempt.waiting:
            for other in self.inflight.values():
                if other.waiting:
                    other.waiting = False
                    other.started_s = now_s
                    break
        return True


class EndpointState:
    """A deployment on a worker, with its learned speed."""

    __slots__ = ("endpoint", "estimate", "worker")

    def __init__(self, endpoint: Endpoint, worker: WorkerState) -> None:
        self.endpoint = endpoint
        self.worker = worker
        self.estimate = ServiceEstimate(endpoint.deployment.service_prior_ms / 1e3)


class Fleet:
    """Every endpoint the router may use. What was learned survives a new snapshot."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerState] = {}
        self.endpoints: dict[str, EndpointState] = {}

    def apply(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the set of endpoints; states of those that stay are kept."""
        workers: dict[str, WorkerState] = {}
        states: dict[str, EndpointState] = {}
        for endpoint in endpoints:
            worker_id = endpoint.worker.id
            worker = workers.get(worker_id) or self.workers.get(worker_id)
            if worker is None:
                worker = WorkerState(worker_id, endpoint.worker.slots)
            worker.slots = endpoint.worker.slots
            workers[worker_id] = worker
            state = self.endpoints.get(endpoint.id)
            if state is None or state.worker is not worker:
                state = EndpointState(endpoint, worker)
            state.endpoint = endpoint
            states[endpoint.id] = state
        self.workers, self.endpoints = workers, states
