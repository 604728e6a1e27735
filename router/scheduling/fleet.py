"""What the scheduler knows about workers and about what runs on them."""

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import inf

from router.domain.catalog import Endpoint
from router.scheduling.batch import Batch, Generation
from router.scheduling.batch_curve import BatchCurve
from router.scheduling.censored import RESIDUAL_FLOOR, evidence
from router.scheduling.ejection import Ejection
from router.scheduling.engine import Engine, EngineSpeed
from router.scheduling.estimate import SMOOTHING, ServiceEstimate, shrunk
from router.scheduling.overcommit import credit
from router.scheduling.places import Places
from router.scheduling.probing import ProbeClock
from router.scheduling.slow_start import SlowStart
from router.scheduling.ticket import Ticket

SLATES_MAX = 1_000
POOL_SMOOTHING = 0.02
NO_SLOT_S = 1.0
"""When a slot is expected of a worker of which none is held: after the next beat or so."""

SATURATED_S = 1.0
"""An engine on which a prompt waits longer than this for others has enough to do: what it is sent
beyond that waits in no better order than here, where it may still go elsewhere.
"""

UNBOUNDED = 1_000_000
"""An engine has no slots: what it runs at once is for its time to the first token to say."""

ENGINE_LOOK_S = 0.02
"""An engine's batch changes with every event, which has it looked at; between two of them only
what is late changes.
"""

LOOK_SPACING_S = 0.002
"""A worker that is overdue looks a little slower every moment: this often is soon enough."""


class Attempt:
    """One ticket on one endpoint. It holds a slot from dispatch until the last token.

    ``started_s`` is when the worker is thought to have begun: dispatch, or the moment when the
    work ahead of it on that worker ended (``waiting`` until then). ``work`` is what it is for this
    endpoint, ``factor`` the batch curve's at its start, ``twin`` the other attempt of a hedge, and
    ``answering`` whether its first byte is on its way to the client. ``generation`` is its part of
    an engine's batch, ``cached_tokens`` what of its prompt the engine should have had.
    """

    __slots__ = (
        "answering",
        "cached_tokens",
        "dispatched_s",
        "endpoint",
        "factor",
        "generation",
        "id",
        "is_probe",
        "started_s",
        "ticket",
        "twin",
        "waiting",
        "work",
    )

    def __init__(
        self, id_: int, ticket: Ticket, endpoint: "EndpointState", work: float, now_s: float
    ) -> None:
        worker = endpoint.worker
        self.id = id_
        self.ticket = ticket
        self.endpoint = endpoint
        self.work = work
        self.cached_tokens = 0.0
        self.generation: Generation | None = None
        self.dispatched_s = now_s
        self.started_s = now_s
        self.waiting = endpoint.engine is None and worker.slots <= len(worker.inflight)
        self.factor = 1.0
        if not endpoint.curve.is_flat:
            self.factor = endpoint.curve.factor(min(len(worker.inflight) + 1, worker.limit))
        self.twin: Attempt | None = None
        self.answering = False
        self.is_probe = False

    @property
    def expected_s(self) -> float:
        """Seconds of service that it should take, by what is known of the endpoint now."""
        if self.generation is not None:
            return self.generation.expected_s
        return self.endpoint.estimate.seconds * self.work * self.factor

    def heard(self, tokens: int, now_s: float) -> None:
        """Some more of its answer came."""
        one, engine = self.generation, self.endpoint.engine
        if one is not None and engine is not None:
            one.heard_tokens += tokens
            engine.batch.heard_s = now_s
            engine.heard(one, now_s)


class WorkerState:
    """One inference server: its limit, what runs on it, when it has room, and if it is trusted.

    ``available_s`` is when its next slot comes free (0 = now), as far as can be expected, and
    ``planned_s`` the same after what waits ahead has been placed; both are absolute. They hold
    until ``recheck_s`` or the worker's next event.
    """

    __slots__ = (
        "_ends",
        "_is_engine",
        "_planned",
        "_queued",
        "_rests",
        "_slots",
        "_slow_start",
        "available_s",
        "batch",
        "credit",
        "ejection",
        "endpoints",
        "id",
        "inflight",
        "limit",
        "places",
        "planned_s",
        "probes",
        "recheck_s",
        "resting_until_s",
    )

    def __init__(self, id_: str, slots: int) -> None:
        self.id = id_
        self._slots = slots
        self._slow_start = SlowStart(slots)
        self.limit = slots
        self.credit = 1
        self.inflight: dict[int, Attempt] = {}
        self.endpoints: list[EndpointState] = []
        self.batch = Batch()
        self.ejection = Ejection()
        self.probes = ProbeClock()
        self.available_s = 0.0
        self.planned_s = 0.0
        self.recheck_s = -inf
        self.resting_until_s = 0.0
        self._queued = 0
        self._is_engine = False
        self.places = Places(slots)
        self._rests = False
        self._ends: list[float] = []
        self._planned: list[float] | None = None

    @property
    def slots(self) -> int:
        """How many requests it runs at once when it is well."""
        return self._slots

    @slots.setter
    def slots(self, slots: int) -> None:
        if slots != self._slots:
            ramping = self._slow_start.limit < self._slots
            self._slots = slots
            self._slow_start.limit = min(self._slow_start.limit, slots) if ramping else slots
            self._limit_changed()

    @property
    def free_slots(self) -> int:
        """Usable slots minus what is in flight; negative while the overcommit credit is used."""
        return self.limit - len(self.inflight)

    @property
    def has_room(self) -> bool:
        """Whether it may be sent one more: a free slot, or the overcommit credit of a well one."""
        if self._rests:
            return False
        return len(self.inflight) < self.limit + self._reserve

    def begin(self, attempt: Attempt) -> None:
        """Take a slot."""
        self.inflight[attempt.id] = attempt
        self._queued += attempt.waiting
        self.recheck_s = -inf

    def release(self, attempt: Attempt, now_s: float) -> bool:
        """Give the slot back, once. The next one that waits on the worker begins now."""
        if self.inflight.pop(attempt.id, None) is None:
            return False
        self.recheck_s = -inf
        if attempt.generation is not None:
            self.batch.end(attempt.generation, now_s)
        if attempt.waiting:
            self._queued -= 1
        elif self._queued:
            self._queued -= 1
            other = next(one for one in self.inflight.values() if one.waiting)
            other.waiting = False
            other.started_s = now_s
        return True

    def rest(self, until_s: float) -> None:
        """It asked to be left alone for a while, without being at fault."""
        self.resting_until_s = max(self.resting_until_s, until_s)
        self.recheck_s = -inf

    def answered(self) -> bool:
        """A request went well: trust grows. True when that lets an ejected worker back in."""
        if self._slow_start.limit == self._slots and not self.ejection.consecutive_failures:
            return False  # It cannot grow: so it is for nearly every answer.
        readmitted = self.ejection.succeeded()
        if readmitted:
            self._slow_start.restart()
        else:
            self._slow_start.answered(self._slots)
        self._limit_changed()
        return readmitted

    def _limit_changed(self) -> None:
        self.limit = self._slow_start.limit
        self.recheck_s = -inf

    @property
    def _reserve(self) -> int:
        """What it is sent beyond its limit, while it is well."""
        if self._is_engine:
            return 0
        return self.credit if self.limit == self._slots > 0 else 0

    def look(self, now_s: float) -> None:
        """Work out when the next slot comes free, and how fast each endpoint is taken to be."""
        if self._is_engine:
            return self._look_at_engine(now_s)
        running: Collection[Attempt] = self.inflight.values()
        if self._queued:
            running = [attempt for attempt in running if not attempt.waiting]
        slow, overdue_s = evidence(running, now_s)
        count = min(len(self.inflight) + 1, self.limit)
        for state in self.endpoints:
            state.look(slow, count)
        self.recheck_s = max(overdue_s, now_s + LOOK_SPACING_S)
        self._planned = None
        self._rests = now_s < self.resting_until_s
        if self._rests:
            self._ends = [self.resting_until_s] * max(self.limit, 1)
            self.available_s = self.planned_s = self.resting_until_s
            self.recheck_s = min(self.recheck_s, self.resting_until_s)
        elif len(self.inflight) < self.limit:
            self.available_s = self.planned_s = 0.0
        else:
            self._look_at_ends(running, slow, now_s)

    def is_engine(self) -> None:
        """Requests share it: it has room until those that come would wait long."""
        if not self._is_engine:
            self._is_engine = True
            self.places = Places(self._slots)
            self.recheck_s = -inf

    def first(self, attempt: Attempt, now_s: float) -> None:
        """The first token of an answer came."""
        one, engine = attempt.generation, attempt.endpoint.engine
        if one is None or engine is None or one.first_s:
            return
        engine.first(one, now_s)
        took_s = now_s - one.begun_s
        mean = (one.decoding_then - one.decoding_at_begin) / took_s if took_s > 0 else 0.0
        self.places.began(self.batch.decoding, mean, took_s, one.expected_first_s)
        self.recheck_s = -inf

    def _look_at_engine(self, now_s: float) -> None:
        too_long_s, each_s = 0.0, inf
        for state in self.endpoints:
            if state.engine is not None:
                state.look_at_engine(state.engine, now_s)
                too_long_s = max(too_long_s, state.engine.waiting_s - SATURATED_S)
                each_s = min(each_s, state.effective_s)
        self._planned = None
        self.recheck_s = now_s + ENGINE_LOOK_S
        self._rests = now_s < self.resting_until_s
        running = len(self.inflight)
        self.limit = min(self.places.count + self.places.reserve, self._most())
        if too_long_s:
            self.limit = min(self.limit, running)
        if self._rests or running >= self.limit:
            free_s = (
                self.resting_until_s
                if self._rests
                else now_s + max(too_long_s, each_s / (running + 1))
            )
            count = max(running, 1)
            self._ends = [free_s + place * each_s / count for place in range(count)]
            self.available_s = self.planned_s = free_s
        else:
            self.available_s = self.planned_s = 0.0

    def _most(self) -> int:
        """How many requests it is trusted with: those of a lease, and while it comes back."""
        told = min(state.endpoint.worker.slots for state in self.endpoints)
        most = min(self._slots, self._slow_start.limit)
        return most if most < told else UNBOUNDED

    def _look_at_ends(self, running: Collection[Attempt], slow: float, now_s: float) -> None:
        ends: list[float] = []
        stale_s = self.recheck_s
        for attempt in running:
            expected = attempt.expected_s * slow
            floor = RESIDUAL_FLOOR * expected
            end = attempt.started_s + expected
            stale_s = min(stale_s, end - floor)
            ends.append(max(now_s + floor, end))
        self.recheck_s = max(stale_s, now_s + LOOK_SPACING_S)
        while len(ends) < self.limit:  # Its own queue moves up a moment later.
            ends.append(now_s)
        if not ends:  # Not one of its slots is leased to this router.
            ends.append(now_s + NO_SLOT_S)
        heapq.heapify(ends)
        for attempt in self.inflight.values():
            if attempt.waiting:
                heapq.heapreplace(ends, ends[0] + attempt.expected_s * slow)
        self._ends = ends
        self.available_s = self.planned_s = ends[0]

    def plan(self, service_s: float, now_s: float) -> None:
        """Book the earliest slot for a ticket that stays queued."""
        if self._planned is None:
            if self.available_s <= now_s:
                self._ends = [now_s] * max(self.free_slots, 1)
            self._planned = self._ends.copy()
        heapq.heapreplace(self._planned, max(self._planned[0], now_s) + service_s)
        self.planned_s = self._planned[0]

    def unplan(self) -> None:
        """Forget what was booked."""
        if self._planned is not None:
            self._planned = None
            self.planned_s = self.available_s


class DeploymentSpeed:
    """What the workers of one deployment have shown together; new ones begin from it."""

    __slots__ = ("engines", "estimate", "probe_work", "unmeasured")

    def __init__(self, prior_s: float) -> None:
        self.estimate = ServiceEstimate(prior_s)
        self.unmeasured: set[EndpointState] = set()
        self.probe_work = 0.0
        self.engines: EngineSpeed | None = None


class EndpointState:
    """A deployment on a worker, with its learned speed.

    ``effective_s`` is seconds per unit of work for one more request now (slowdown and batch curve
    included), ``disturbance_s`` what that would cost the requests that run there already.
    """

    __slots__ = (
        "curve",
        "disturbance_s",
        "effective_s",
        "endpoint",
        "engine",
        "estimate",
        "id",
        "speed",
        "worker",
    )

    def __init__(self, endpoint: Endpoint, worker: WorkerState, speed: DeploymentSpeed) -> None:
        self.id = endpoint.id
        self.endpoint = endpoint
        self.worker = worker
        self.speed = speed
        self.curve = BatchCurve(endpoint.deployment.batch_curve)
        prior_s = endpoint.deployment.service_prior_ms / 1e3
        self.estimate = ServiceEstimate(
            speed.estimate.seconds if speed.estimate.samples else prior_s
        )
        self.effective_s = self.estimate.seconds
        self.disturbance_s = 0.0
        self.engine: Engine | None = None
        speed.unmeasured.add(self)
        if speed.engines is not None:
            self.is_engine()

    def is_engine(self) -> None:
        """It answers token by token, so that requests share it instead of taking slots in turn."""
        if self.engine is None:
            if self.speed.engines is None:
                self.speed.engines = EngineSpeed()
            self.engine = Engine(self.speed.engines, self.worker.batch)
            self.worker.is_engine()

    def cost_s(self, ticket: Ticket) -> float:
        """Seconds that it takes here once it may begin, and what that costs those that run."""
        if self.engine is not None:
            return self.engine.cost_s(ticket)
        return self.effective_s * ticket.work + self.disturbance_s

    def service_s(self, ticket: Ticket) -> float:
        """Seconds that it takes here once it may begin."""
        if self.engine is not None:
            prompt = ticket.prompt_tokens
            return self.engine.end_s(prompt, prompt, ticket.answer_tokens)
        return self.effective_s * ticket.work

    def look_at_engine(self, engine: Engine, now_s: float) -> None:
        """Take in what runs in its batch."""
        engine.look(now_s)
        speed = engine.speed
        prompt_tokens = speed.prompt_tokens
        self.effective_s = engine.end_s(prompt_tokens, prompt_tokens, speed.answer_tokens)

    def look(self, slow: float, count: int) -> None:
        """Take in that the worker looks ``slow`` times slower, with ``count`` requests on it."""
        seconds = shrunk(self.estimate.seconds, self.speed.estimate.seconds) * slow
        if not self.curve.is_flat:
            alone, together = self.curve.factor(max(count - 1, 1)), self.curve.factor(count)
            self.disturbance_s = (count - 1) * seconds * (together - alone)
            seconds *= together
        self.effective_s = seconds

    def observe(self, service_s: float, work: float, smoothing: float = SMOOTHING) -> None:
        """Learn from one completed service, for this worker and for its deployment."""
        self.estimate.observe(service_s, work, smoothing)
        self.speed.estimate.observe(service_s, work, POOL_SMOOTHING)
        self.speed.unmeasured.discard(self)
        for other in self.speed.unmeasured:
            other.estimate.expect(self.speed.estimate.seconds)
            other.worker.recheck_s = -inf
        self.worker.recheck_s = -inf

    def was_outrun(self, age_s: float, work: float) -> None:
        """Learn from a service that was stopped at this age: it would have gone on.

        What was still expected is imputed, or only quick services would count. Before anything is
        known its age is a bound and no more.
        """
        if self.estimate.samples:
            self.observe(age_s + self.estimate.seconds * work, work)
        else:
            self.estimate.at_least(age_s / work)
            self.worker.recheck_s = -inf


class Slate:
    """The endpoints that requests of one kind may use, resolved."""

    __slots__ = (
        "_fleet",
        "_trusted",
        "_trusted_at",
        "by_worker",
        "is_streamed",
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
        self.is_streamed = False

    def usable(self, excluded: frozenset[str]) -> list[EndpointState]:
        """Trusted ones; any that are left when there are none of those."""
        if self._trusted_at != self._fleet.trust_changes:
            self._trusted = [s for s in self.states if not s.worker.ejection.is_ejected]
            self._trusted_at = self._fleet.trust_changes
        trusted, known = self._trusted, self.states
        if excluded:
            trusted = [state for state in trusted if state.worker.id not in excluded]
            known = [state for state in known if state.worker.id not in excluded]
        # With every circuit open, a try that may fail beats a refusal that certainly does.
        return trusted or known

    def streams(self) -> None:
        """Requests of this kind are answered token by token: what answers them is an engine."""
        self.is_streamed = True
        for state in self.states:
            state.is_engine()

    def busy_service_s(self) -> float:
        """Mean service of a unit of work while every slot is busy."""
        slots = rate = 0.0
        for state in self.states:
            slots += state.worker.slots
            rate += state.worker.slots / state.effective_s
        return slots / rate if rate else 0.0


def _unremembered(_: EndpointState) -> None:
    """There was no earlier life."""


class Fleet:
    """Every endpoint the router may use. What was learned survives a new snapshot; ``recall``
    brings back to a new endpoint what an earlier life of the router has learned.
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
        """Limit workers to the slots that this router holds a lease for."""
        self._leased = granted
        for state in self.endpoints.values():
            worker = state.endpoint.worker
            state.worker.slots = min(worker.slots, granted.get(worker.id, worker.slots))

    def apply(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the set of endpoints.

        States are kept of those that stay, and of workers that leave while requests run on them:
        these may be back before those requests end.
        """
        workers: dict[str, WorkerState] = {}
        states: dict[str, EndpointState] = {}
        for endpoint in endpoints:
            worker = self._worker(endpoint, workers)
            states[endpoint.id] = state = self._state(endpoint, worker)
            worker.endpoints.append(state)
            worker.credit = max(
                worker.credit,
                credit(worker.slots, state.estimate.seconds, endpoint.worker.rtt_ms / 1e3),
            )
        self.workers, self.endpoints = workers, states
        busy = {id_: worker for id_, worker in self._known_workers.items() if worker.inflight}
        self._known_workers = busy | workers
        left = {id_: s for id_, s in self._known_endpoints.items() if s.worker.id in busy}
        known = left | states
        for id_, state in self._known_endpoints.items():
            if known.get(id_) is not state and state.engine is not None:
                state.engine.retire()
        self._known_endpoints = known
        self._slates.clear()
        for speed in self._speeds.values():
            speed.unmeasured &= set(states.values())

    def slate(self, candidates: tuple[str, ...]) -> Slate:
        """The candidates that exist, in the same order."""
        slate = self._slates.get(candidates)
        if slate is None:
            if len(self._slates) >= SLATES_MAX:
                self._slates.clear()
            known = [self.endpoints[one] for one in candidates if one in self.endpoints]
            slate = self._slates[candidates] = Slate(self, known)
        return slate

    def _worker(self, endpoint: Endpoint, workers: dict[str, WorkerState]) -> WorkerState:
        worker = workers.get(endpoint.worker.id)
        if worker is None:
            worker = self._known_workers.get(endpoint.worker.id)
            if worker is None:
                worker = WorkerState(endpoint.worker.id, endpoint.worker.slots)
            slots = endpoint.worker.slots
            worker.slots = min(slots, self._leased.get(worker.id, slots))
            worker.endpoints = []
            worker.credit = 1
            worker.recheck_s = -inf
            workers[worker.id] = worker
        return worker

    def _state(self, endpoint: Endpoint, worker: WorkerState) -> EndpointState:
        state = self._known_endpoints.get(endpoint.id)
        if state is None or state.worker is not worker:
            deployment = endpoint.deployment
            speed = self._speeds.get(deployment.id)
            if speed is None:
                speed = DeploymentSpeed(deployment.service_prior_ms / 1e3)
                self._speeds[deployment.id] = speed
            state = EndpointState(endpoint, worker, speed)
            self.recall(state)
            return state
        if state.endpoint.deployment.batch_curve != endpoint.deployment.batch_curve:
            state.curve = BatchCurve(endpoint.deployment.batch_curve)
        state.endpoint = endpoint
        return state
