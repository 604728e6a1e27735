"""What the scheduler knows about workers and about what runs on them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from router.contracts.word import Load
from router.domain.catalog import Endpoint
from router.scheduling.batch_curve import BatchCurve
from router.scheduling.ejection import Ejection
from router.scheduling.engine import EngineSpeed
from router.scheduling.engine_guess import guess_of
from router.scheduling.engines import EngineWorker, is_named
from router.scheduling.estimate import ServiceEstimate
from router.scheduling.others import together
from router.scheduling.overcommit import credit
from router.scheduling.probing import ProbeClock
from router.scheduling.service import DeploymentSpeed, Service
from router.scheduling.slots import SlotWorker
from router.scheduling.slow_start import SlowStart
from router.scheduling.ticket import Ticket
from router.scheduling.worker_model import Bounds, EndpointModel, Run, WorkerModel

SLATES_MAX = 1_000


class Attempt:
    """One ticket on one endpoint. It holds its place there from dispatch until the last token.

    ``run`` is the endpoint model's record of it, and ``twin`` is the other attempt of a hedge, of
    which the second ``is_hedge``. ``answering`` says that its first byte is on its way to the
    client. ``cached_tokens`` is how much of its prompt the endpoint should have had.
    """

    __slots__ = (
        "answering",
        "cached_tokens",
        "dispatched_s",
        "endpoint",
        "id",
        "is_hedge",
        "is_probe",
        "run",
        "ticket",
        "twin",
    )

    def __init__(
        self,
        id_: int,
        ticket: Ticket,
        endpoint: "EndpointState",
        work: float,
        now_s: float,
        cached_tokens: float = 0.0,
    ) -> None:
        self.id = id_
        self.ticket = ticket
        self.endpoint = endpoint
        self.cached_tokens = cached_tokens
        self.dispatched_s = now_s
        self.run: Run = endpoint.model.begin(ticket, work, cached_tokens, now_s)
        self.twin: Attempt | None = None
        self.answering = False
        self.is_hedge = False
        self.is_probe = False

    def heard(self, tokens: int, now_s: float) -> None:
        """More of its answer came."""
        self.run.heard(tokens, now_s)


class WorkerState:
    """One inference server: what runs on it, whether it is trusted, and its ``model``."""

    __slots__ = (
        "_is_engine",
        "_slow_start",
        "bounds",
        "ejection",
        "endpoints",
        "id",
        "inflight",
        "model",
        "probes",
    )

    def __init__(self, id_: str, slots: int) -> None:
        self.id = id_
        self._is_engine = False
        self._slow_start = SlowStart(slots)
        self.inflight: dict[int, Attempt] = {}
        self.bounds = Bounds(slots, self.inflight)
        self.model: WorkerModel = SlotWorker(self.bounds)
        self.endpoints: list[EndpointState] = []
        self.ejection = Ejection()
        self.probes = ProbeClock()

    @property
    def slots(self) -> int:
        """How many requests it runs at once when it is healthy."""
        return self.bounds.slots

    @slots.setter
    def slots(self, slots: int) -> None:
        known = self.bounds.slots
        if slots != known:
            ramping = self._slow_start.limit < known
            self.bounds.slots = slots
            self._slow_start.limit = min(self._slow_start.limit, slots) if ramping else slots
            self._trust_changed()

    @property
    def limit(self) -> int:
        """How many requests it is currently sent at once."""
        return self.model.limit

    @property
    def free_slots(self) -> int:
        """Usable slots minus requests in flight; negative if more were sent."""
        return self.model.limit - len(self.inflight)

    @property
    def has_room(self) -> bool:
        """Whether it may get one more request."""
        return self.model.has_room

    def begin(self, attempt: Attempt) -> None:
        """An attempt is sent to it."""
        self.inflight[attempt.id] = attempt
        self.model.recheck_s = -inf

    def release(self, attempt: Attempt, now_s: float) -> bool:
        """Free what an attempt holds. False if it was free already."""
        if self.inflight.pop(attempt.id, None) is None:
            return False
        if attempt.is_probe:
            self.probes.running = False
        attempt.run.end(now_s)
        self.model.recheck_s = -inf
        return True

    def rest(self, until_s: float) -> None:
        """It asked to be left alone for a while, without being at fault."""
        self.bounds.resting_until_s = max(self.bounds.resting_until_s, until_s)
        self.model.recheck_s = -inf

    def began(self) -> bool:
        """An answer begins, so one more may be sent. True if that changes its limit."""
        if self._slow_start.limit == self.bounds.slots or self.ejection.is_ejected:
            return False
        self._slow_start.answered(self.bounds.slots)
        self._trust_changed()
        return True

    def answered(self) -> bool:
        """A request went well: trust grows. True if that lets an ejected worker back in."""
        if self._slow_start.limit == self.bounds.slots and not self.ejection.consecutive_failures:
            return False  # It is fully trusted, as for nearly every answer.
        readmitted = self.ejection.succeeded()
        if readmitted:
            self._slow_start.restart()
        else:
            self._slow_start.answered(self.bounds.slots)
        self._trust_changed()
        return readmitted

    def become_engine(self) -> None:
        """Treat it as an engine that requests share, on all its endpoints."""
        if not self._is_engine:
            self._is_engine = True
            self.model = EngineWorker(self.bounds)
            for state in self.endpoints:
                state.renew_model()
            self.set_endpoints(self.endpoints)

    def set_endpoints(self, endpoints: list["EndpointState"]) -> None:
        """Set its endpoints."""
        self.endpoints = endpoints
        self.model.set_endpoints([state.model for state in endpoints])
        self.model.recheck_s = -inf

    def _trust_changed(self) -> None:
        self.bounds.trusted = min(self._slow_start.limit, self.bounds.slots)
        self.model.bounds_changed()


class EndpointState:
    """A deployment on a worker, with what its workers have shown and its ``model``."""

    __slots__ = ("endpoint", "id", "model", "service", "worker")

    def __init__(self, endpoint: Endpoint, worker: WorkerState, speed: DeploymentSpeed) -> None:
        deployment = endpoint.deployment
        self.id = endpoint.id
        self.endpoint = endpoint
        self.worker = worker
        curve = BatchCurve(deployment.batch_curve)
        self.service = Service(speed, worker.model, deployment.service_prior_ms / 1e3, curve)
        self.model: EndpointModel = worker.model.endpoint(self.service)

    @property
    def estimate(self) -> ServiceEstimate:
        """Seconds per unit of work, over all that it was sent."""
        return self.service.estimate

    @property
    def effective_s(self) -> float:
        """Seconds per unit of work for one more request now."""
        return self.model.effective_s

    def service_s(self, ticket: Ticket) -> float:
        """Seconds that a request takes here once it may begin."""
        return self.model.service_s(ticket)

    def become_engine(self) -> None:
        """Requests share it instead of taking slots in turn."""
        self.service.shared.has_engines = True
        self.worker.become_engine()

    def renew_model(self) -> None:
        """Its worker has got another model."""
        self.service.worker = self.worker.model
        self.model = self.worker.model.endpoint(self.service)


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
