"""Every worker and endpoint that the router may use, and which of them one kind of request may."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from router.contracts.word import Load
from router.domain.catalog import Endpoint
from router.scheduling.estimates.batch_curve import BatchCurve
from router.scheduling.fleet.overcommit import credit
from router.scheduling.fleet.worker import EndpointState, WorkerState
from router.scheduling.ticket import Ticket
from router.scheduling.worker_models.engine_guess import guess_of, is_named
from router.scheduling.worker_models.engine_speed import EngineSpeed
from router.scheduling.worker_models.others import together
from router.scheduling.worker_models.service import DeploymentSpeed

SLATES_MAX = 1_000


class Slate:
    """The endpoints that one kind of request may use, looked up once."""

    __slots__ = (
        "_fleet",
        "_trusted",
        "_trusted_at",
        "by_worker",
        "is_shared",
        "states",
        "workers",
    )

    def __init__(self, fleet: "Fleet", states: Sequence[EndpointState]) -> None:
        self._fleet = fleet
        self._trusted: list[EndpointState] = []
        self._trusted_at = -1
        self.states = list(states)
        self.by_worker = {state.worker.id: state for state in states}
        self.workers = [state.worker for state in self.by_worker.values()]
        self.is_shared = False

    def usable(self, excluded: frozenset[str]) -> list[EndpointState]:
        """The trusted endpoints, or all of them if none is trusted."""
        if self._trusted_at != self._fleet.trust_changes:
            self._trusted = [state for state in self.states if not state.worker.ejection.is_ejected]
            self._trusted_at = self._fleet.trust_changes
        trusted, known = self._trusted, self.states
        if excluded:
            trusted = [state for state in trusted if state.worker.id not in excluded]
            known = [state for state in known if state.worker.id not in excluded]
        # If every circuit is open, a try that may fail beats a refusal.
        return trusted or known

    def mark_shared(self) -> None:
        """Requests of this kind share the workers that answer them: they are engines."""
        self.is_shared = True
        for state in self.states:
            state.become_engine()

    def work(self, ticket: Ticket) -> float:
        """The size of a request, where a mean request is 1."""
        return self.states[0].model.work(ticket) if self.states else ticket.work

    def busy_service_s(self) -> float:
        """The mean service of a unit of work while every slot is busy."""
        slots = rate = 0.0
        for state in self.states:
            slots += state.worker.slots
            rate += state.worker.slots / state.model.effective_s
        return slots / rate if rate else 0.0


def drain_hz(states: Sequence[EndpointState]) -> float:
    """Units of work a second that leave these endpoints together; infinite if any has room."""
    rate = 0.0
    for state in states:
        model = state.worker.model
        if model.has_room:
            return inf
        rate += model.limit / state.model.effective_s
    return rate


def _unremembered(_: EndpointState) -> None:
    """Used when there is nothing of an earlier run to restore."""


class Fleet:
    """Every endpoint that the router may use. What was learned survives a new snapshot.

    ``recall`` restores for a new endpoint what an earlier run of the router learned.
    """

    def __init__(self) -> None:
        self.recall: Callable[[EndpointState], None] = _unremembered
        self.trust_changes = 0
        self.workers: dict[str, WorkerState] = {}
        self.endpoints: dict[str, EndpointState] = {}
        self._known_workers: dict[str, WorkerState] = {}
        self._known_endpoints: dict[str, EndpointState] = {}
        self._speeds: dict[int, DeploymentSpeed] = {}
        self._slates: dict[tuple[str, ...], Slate] = {}
        self._leased: Mapping[str, int] = {}

    def lease(self, granted: Mapping[str, int]) -> None:
        """Limit workers to the slots that this router has leased."""
        self._leased = granted
        for state in self.endpoints.values():
            worker = state.endpoint.worker
            state.worker.slots = min(worker.slots, granted.get(worker.id, worker.slots))

    def loads(self, now_s: float) -> dict[str, Load]:
        """The mean load of this router on engines, by worker."""
        loads: dict[str, Load] = {}
        for worker in self.workers.values():
            load = worker.model.own_load(now_s)
            if load is not None:
                loads[worker.id] = load
        return loads

    def others_loads(self, loads: Sequence[Mapping[str, Load]], now_s: float) -> None:
        """Replace the known loads of other routers on engines."""
        for worker in self.workers.values():
            theirs = together(
                router_loads[worker.id] for router_loads in loads if worker.id in router_loads
            )
            worker.model.others_load(theirs, now_s)

    def apply(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the set of endpoints.

        It keeps the state of endpoints that stay, and of workers that leave while requests run on
        them: they may be back before those requests end.
        """
        workers: dict[str, WorkerState] = {}
        states: dict[str, EndpointState] = {}
        for endpoint in endpoints:
            worker = self._worker(endpoint, workers)
            states[endpoint.id] = state = self._state(endpoint, worker)
            if endpoint.worker.reserved:
                # Overcommitted requests would take the slot that is kept free.
                worker.bounds.credit = 0
                continue
            worker.bounds.credit = max(
                worker.bounds.credit,
                credit(worker.slots, state.estimate.seconds, endpoint.worker.rtt_ms / 1e3),
            )
        for worker in workers.values():
            worker.set_endpoints(worker.endpoints)
        self.workers, self.endpoints = workers, states
        busy = {id_: worker for id_, worker in self._known_workers.items() if worker.inflight}
        self._known_workers = busy | workers
        left = {
            id_: state for id_, state in self._known_endpoints.items() if state.worker.id in busy
        }
        known = left | states
        for id_, state in self._known_endpoints.items():
            if known.get(id_) is not state:
                state.model.retire()
        self._known_endpoints = known
        self._slates.clear()
        for speed in self._speeds.values():
            speed.unmeasured &= {state.service for state in states.values()}

    def slate(self, candidates: tuple[str, ...]) -> Slate:
        """The candidates that exist, in the same order."""
        slate = self._slates.get(candidates)
        if slate is None:
            if len(self._slates) >= SLATES_MAX:
                self._slates.clear()
            known = [self.endpoints[id_] for id_ in candidates if id_ in self.endpoints]
            slate = self._slates[candidates] = Slate(self, known)
            if any(state.service.shared.has_engines for state in known):
                slate.mark_shared()
        return slate

    def _worker(self, endpoint: Endpoint, workers: dict[str, WorkerState]) -> WorkerState:
        worker = workers.get(endpoint.worker.id)
        if worker is None:
            worker = self._known_workers.get(endpoint.worker.id)
            if worker is None:
                worker = WorkerState(endpoint.worker.id, endpoint.worker.slots)
            slots = endpoint.worker.slots
            worker.slots = min(slots, self._leased.get(worker.id, slots))
            worker.bounds.configured = slots
            worker.bounds.credit = 1
            worker.endpoints = []
            workers[worker.id] = worker
        return worker

    def _state(self, endpoint: Endpoint, worker: WorkerState) -> EndpointState:
        state = self._known_endpoints.get(endpoint.id)
        if state is None or state.worker is not worker:
            deployment = endpoint.deployment
            speed = self._speeds.get(deployment.id)
            if speed is None:
                engines = EngineSpeed(*guess_of(deployment, endpoint.pool.hardware))
                speed = DeploymentSpeed(deployment.service_prior_ms / 1e3, engines)
                self._speeds[deployment.id] = speed
                if deployment.engine_prior is not None:
                    speed.engines_benchmarked(deployment.engine_prior)
            state = EndpointState(endpoint, worker, speed)
            worker.endpoints.append(state)
            if speed.has_engines or is_named(endpoint):
                state.become_engine()
            self.recall(state)
            return state
        if state.endpoint.deployment.batch_curve != endpoint.deployment.batch_curve:
            state.service.curve = BatchCurve(endpoint.deployment.batch_curve)
        prior_ms = endpoint.deployment.service_prior_ms
        if prior_ms not in (0, state.endpoint.deployment.service_prior_ms):
            state.service.benchmarked(prior_ms / 1e3)
            guess = guess_of(endpoint.deployment, endpoint.pool.hardware)
            state.service.shared.engines.expect(*guess)
        if endpoint.deployment.engine_prior is not None:
            state.service.shared.engines_benchmarked(endpoint.deployment.engine_prior)
        state.endpoint = endpoint
        worker.endpoints.append(state)
        if state.service.worker is not worker.model:
            state.renew_model()
        return state
