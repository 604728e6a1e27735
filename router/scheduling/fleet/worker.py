"""One worker, what runs on it, and what the scheduler knows of both."""

from collections.abc import Iterable
from math import inf

from router.domain.catalog import Endpoint
from router.domain.protocols import generates
from router.scheduling.estimates.batch_curve import BatchCurve
from router.scheduling.estimates.estimate import ServiceEstimate
from router.scheduling.fleet.ejection import Ejection
from router.scheduling.fleet.probing import ProbeClock
from router.scheduling.fleet.slow_start import SlowStart
from router.scheduling.ticket import Ticket
from router.scheduling.worker_models.engines import EngineWorker
from router.scheduling.worker_models.service import DeploymentSpeed, Service
from router.scheduling.worker_models.slots import SlotWorker
from router.scheduling.worker_models.worker_model import Bounds, EndpointModel, Run, WorkerModel

LESSON_SPACING_S = 0.01
"""How far apart requests begin whose ends are learned from. A lesson takes about as long as all
else that is done about a call here, and many in a moment say the same. It is decided as a request
begins, so that quick answers do not teach more often than slow ones.
"""

LESSONS_MIN = 100
"""The first answers of an endpoint all teach."""


class Attempt:
    """One ticket on one endpoint. It holds its place there from dispatch until the last token.

    ``run`` is the endpoint model's record of it, and ``expected_s`` what it was expected to take as
    it was sent. ``twin`` is the other attempt of a hedge, of which the second ``is_hedge``.
    ``answering`` says that its first byte is on its way to the client. ``cached_tokens`` is how
    much of its prompt the endpoint should have had. ``teaches`` says whether its end is to be
    learned from.
    """

    __slots__ = (
        "answering",
        "cached_tokens",
        "dispatched_s",
        "endpoint",
        "expected_s",
        "id",
        "is_hedge",
        "is_probe",
        "run",
        "teaches",
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
        self.expected_s = self.run.expected_s
        self.teaches = endpoint.takes_lesson(now_s)
        self.twin: Attempt | None = None
        self.answering = False
        self.is_hedge = False
        self.is_probe = False

    def heard(self, tokens: int, now_s: float) -> None:
        """More of its answer came."""
        self.run.heard(tokens, now_s)
        self.endpoint.worker.streamed_s = now_s

    def met_silence(self, now_s: float) -> bool:
        """Whether its answer is overdue, and nothing was heard of its worker since it was due."""
        worker, due_s = self.endpoint.worker, self.run.started_s + self.expected_s
        return max(worker.probes.heard_s, worker.streamed_s) <= due_s < now_s


class WorkerState:
    """One inference server: what runs on it, whether it is trusted, and its ``model``.

    ``batch_calls`` of what runs are of batches; ``others_s`` is when it was last sent another call.
    ``streamed_s`` is when a part of an answer last came before its end.
    """

    __slots__ = (
        "_slow_start",
        "batch_calls",
        "bounds",
        "ejection",
        "endpoints",
        "id",
        "inflight",
        "is_engine",
        "model",
        "others_s",
        "probes",
        "streamed_s",
    )

    def __init__(self, id_: str, slots: int) -> None:
        self.id = id_
        self.is_engine = False
        self.batch_calls = 0
        self.others_s = -inf
        self.streamed_s = 0.0
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
        self.batch_calls += attempt.ticket.yields
        self.model.recheck_s = -inf

    def release(self, attempt: Attempt, now_s: float) -> bool:
        """Free what an attempt holds. False if it was free already."""
        if self.inflight.pop(attempt.id, None) is None:
            return False
        self.batch_calls -= attempt.ticket.yields
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
        if not self.is_engine:
            self.is_engine = True
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


def costs_s(ticket: Ticket, states: "Iterable[EndpointState]") -> list[float]:
    """What a ticket costs on each endpoint, as its model's ``cost_s`` says.

    Generations are compared on all of a large fleet, so no function is called for each engine.
    """
    prompt, answer = ticket.prompt_tokens, ticket.answer_tokens
    if not prompt:
        return [state.model.cost_s(ticket) for state in states]
    return [
        least_s + prompt * prompt_s + answer * (answer_s + prompt * pair_s)
        if prompt <= room
        else state.model.cost_s(ticket)
        for state in states
        for least_s, prompt_s, answer_s, pair_s, room in (state.model.rates,)
    ]


class EndpointState:
    """A deployment on a worker, with what its workers have shown and its ``model``."""

    __slots__ = ("_lesson_s", "endpoint", "id", "model", "service", "worker")

    def __init__(self, endpoint: Endpoint, worker: WorkerState, speed: DeploymentSpeed) -> None:
        deployment = endpoint.deployment
        self._lesson_s = -inf
        self.id = endpoint.id
        self.endpoint = endpoint
        self.worker = worker
        curve = BatchCurve(deployment.batch_curve)
        self.service = Service(
            speed,
            worker.model,
            deployment.service_prior_ms / 1e3,
            curve,
            generates=generates(endpoint.task),
        )
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

    def takes_lesson(self, now_s: float) -> bool:
        """Whether the end of a request that begins now is to be learned from. Asked once for each:
        if so, the next lesson is a while away.
        """
        if now_s - self._lesson_s < LESSON_SPACING_S and self.estimate.samples >= LESSONS_MIN:
            return False
        self._lesson_s = now_s
        return True

    def become_engine(self) -> None:
        """Requests share it instead of taking slots in turn."""
        self.service.shared.has_engines = True
        self.worker.become_engine()

    def renew_model(self) -> None:
        """Its worker has got another model."""
        self.service.worker = self.worker.model
        self.model = self.worker.model.endpoint(self.service)
