"""Workers on which a request has its own slot or waits for one (Triton's instances, small servers).

A request takes its work times the endpoint's seconds for a unit of work. It waits until the first
slot is free.
"""

import heapq
from collections.abc import Collection, Iterable
from typing import ClassVar

from router.contracts.engines.engine_report import EngineReport
from router.contracts.word import Load
from router.scheduling.estimates.censored import RESIDUAL_FLOOR, evidence
from router.scheduling.estimates.estimate import FLOOR_S, RECOVERY_SMOOTHING, SMOOTHING, shrunk
from router.scheduling.estimates.slowdown import SLOWED_SMOOTHING
from router.scheduling.ticket import Ticket, Used
from router.scheduling.worker_models.bookings import Bookings
from router.scheduling.worker_models.service import Service
from router.scheduling.worker_models.worker_model import (
    NOT_BY_TOKENS,
    Bounds,
    EndpointModel,
    Run,
)

SLOWED = 2.0
"""After a while without news, an answer this many times faster than expected counts more."""

NO_SLOT_S = 1.0
"""How soon to expect a slot of a worker of which this router leases none: about one beat."""

LOOK_SPACING_S = 0.002
"""An overdue worker looks slower with every moment; checking it this often is enough."""


class SlotRun(Run):
    """A request in a slot, or behind one: a ``Run``.

    ``work`` is its size for this endpoint, ``factor`` is the batch curve's at its start. A request
    that needs no slot has no ``worker``. For a generation, ``beside`` is how many run beside it,
    and ``beside_tokens`` is how many tokens their prompts have.
    """

    __slots__ = (
        "_factor",
        "_service",
        "_work",
        "_worker",
        "beside",
        "beside_tokens",
        "prompt_tokens",
    )

    beside: int
    beside_tokens: float

    def __init__(
        self,
        service: Service,
        work: float,
        now_s: float,
        worker: "SlotWorker | None" = None,
        factor: float = 1.0,
    ) -> None:
        self._service = service
        self._work = work
        self._worker = worker
        self._factor = factor
        self.prompt_tokens = 0.0
        self.started_s = now_s
        self.waiting = False

    @property
    def expected_s(self) -> float:
        """Expected seconds of service, as known of the endpoint now."""
        return self._service.estimate.seconds * self._work * self._factor

    def first(self, now_s: float) -> None:
        """The beginning of its answer says nothing of its end."""

    def heard(self, tokens: int, now_s: float) -> None:
        """Nor do further tokens."""

    def end(self, now_s: float) -> None:
        """Free the slot for the next request."""
        if self._worker is not None:
            self._worker.ended(self, now_s)

    def learn(self, used: Used | None, now_s: float, *, silent: bool) -> float:
        """Its duration says how fast the endpoint is, and how large the request was."""
        service, work = self._service, self._work
        service_s = now_s - self.started_s
        if used is not None and used.answer_tokens and self.prompt_tokens:
            sharing = service.shared.sharing
            if self.waiting:
                sharing.overtook()
            else:
                sharing.answered(used, self.beside, self.beside_tokens, service_s / self._factor)
        relative = service_s / self.expected_s
        # Before the endpoint's speed is known, the duration says nothing of sizes.
        shown = relative * work if service.estimate.samples else 0.0
        smoothing = SMOOTHING
        if silent and relative < 1 / SLOWED:
            smoothing = RECOVERY_SMOOTHING
        elif service.slowdown.shows(relative, self.started_s, now_s):
            smoothing = SLOWED_SMOOTHING
        service.observe(service_s, work * self._factor, smoothing)
        return shown

    def outrun(self, now_s: float) -> None:
        """Learn from an attempt that was stopped and would have gone on."""
        if not self.waiting:
            self._service.was_outrun(now_s - self.started_s, self._work * self._factor)


class SlotWorker(Bookings):
    """A ``WorkerModel``: it has room while a slot is free.

    ``queued`` of the ``running`` requests are behind its slots. Their prompts have
    ``prompt_tokens`` in total.
    """

    __slots__ = ("_endpoints", "_ends", "prompt_tokens", "queued", "running")

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.running: dict[SlotRun, None] = {}
        self._endpoints: list[SlotEndpoint] = []
        self._ends: list[float] = []
        self.queued = 0
        self.prompt_tokens = 0.0

    @property
    def has_room(self) -> bool:
        """Whether a slot is free, or the overcommit credit of a healthy worker."""
        if self._rests:
            return False
        bounds, limit = self.bounds, self.limit
        count = len(bounds.inflight)
        return count < limit or (limit == bounds.slots > 0 and count < limit + bounds.credit)

    def ends(self) -> list[float]:
        """As of the last look."""
        return self._ends.copy()

    def endpoint(self, service: Service) -> "SlotEndpoint":
        """The model of one of its endpoints."""
        return SlotEndpoint(self, service)

    def set_endpoints(self, endpoints: Iterable[EndpointModel]) -> None:
        """Set its endpoints."""
        self._endpoints = [endpoint for endpoint in endpoints if isinstance(endpoint, SlotEndpoint)]

    def waited_for(self, is_waited_for: bool, *, is_overload: bool = False) -> None:
        """Ignored: waiting requests do not change the slots."""

    def own_load(self, now_s: float) -> Load | None:
        """None: slots are leased, so no load is shared."""
        return None

    def others_load(self, others: Load, now_s: float) -> None:
        """Ignored: other routers use their own leased slots."""

    def reported(self, report: EngineReport | None, now_s: float) -> None:
        """Ignored: slots are leased."""

    def look(self, now_s: float) -> None:
        """Work out when the next slot is free, and how fast each endpoint is expected to be."""
        running: Collection[SlotRun] = self.running
        if self.queued:
            running = [run for run in running if not run.waiting]
        slow, overdue_s = evidence(running, now_s)
        bounds = self.bounds
        inflight = len(bounds.inflight)
        count = min(inflight + 1, self.limit)
        for endpoint in self._endpoints:
            endpoint.look(slow, count)
        self.recheck_s = max(overdue_s, now_s + LOOK_SPACING_S)
        self._planned = None
        self._rests = now_s < bounds.resting_until_s
        if self._rests:
            self._ends = [bounds.resting_until_s] * max(self.limit, 1)
            self.available_s = self.planned_s = bounds.resting_until_s
            self.recheck_s = min(self.recheck_s, bounds.resting_until_s)
        elif inflight < self.limit:
            self.available_s = self.planned_s = 0.0
        else:
            self._look_at_ends(running, slow, now_s)

    def ended(self, run: SlotRun, now_s: float) -> None:
        """A request has left. The next one that waits there begins now."""
        del self.running[run]
        self.prompt_tokens = self.prompt_tokens - run.prompt_tokens if self.running else 0.0
        if run.waiting:
            self.queued -= 1
        elif self.queued:
            self.queued -= 1
            other = next(run for run in self.running if run.waiting)
            other.waiting = False
            other.started_s = now_s

    def _look_at_ends(self, running: Collection[SlotRun], slow: float, now_s: float) -> None:
        ends: list[float] = []
        stale_s = self.recheck_s
        for run in running:
            expected = run.expected_s * slow
            floor = RESIDUAL_FLOOR * expected
            end = run.started_s + expected
            stale_s = min(stale_s, end - floor)
            ends.append(max(now_s + floor, end))
        self.recheck_s = max(stale_s, now_s + LOOK_SPACING_S)
        while len(ends) < self.limit:  # Its own queue moves up in a moment.
            ends.append(now_s)
        if not ends:  # This router leases none of its slots.
            ends.append(now_s + NO_SLOT_S)
        heapq.heapify(ends)
        for run in self.running:
            if run.waiting:
                heapq.heapreplace(ends, ends[0] + run.expected_s * slow)
        self._ends = ends
        self.available_s = self.planned_s = ends[0]


class SlotEndpoint(EndpointModel):
    """An :class:`~router.scheduling.worker_models.worker_model.EndpointModel`.

    ``effective_s`` includes how slow the worker looks and how many requests run there.
    ``disturbance_s`` is what one more request costs those.
    """

    __slots__ = ("_service", "_worker", "disturbance_s")

    keeps_prompts: ClassVar = False

    def __init__(self, worker: SlotWorker, service: Service) -> None:
        self._worker = worker
        self._service = service
        self.effective_s = self.pace = service.estimate.seconds
        self.disturbance_s = 0.0
        self.rates = NOT_BY_TOKENS

    def work(self, ticket: Ticket) -> float:
        """The predicted size of a request."""
        return ticket.work

    def service_s(self, ticket: Ticket) -> float:
        """Seconds of a request, once it has a slot."""
        return self.effective_s * ticket.work

    def cost_s(self, ticket: Ticket) -> float:
        """:meth:`service_s`, plus what the request adds to all others that run here."""
        return self.effective_s * ticket.work + self.disturbance_s

    def saved_s(self, cached_tokens: float) -> float:
        """0: these workers are not known to keep prompts."""
        return 0.0

    def look(self, slow: float, count: int) -> None:
        """Take in that the worker looks ``slow`` times slower, with ``count`` requests on it."""
        service = self._service
        curve = service.curve
        seconds = shrunk(service.estimate.seconds, service.shared.estimate.seconds) * slow
        if not curve.is_flat:
            alone, together = curve.factor(max(count - 1, 1)), curve.factor(count)
            self.disturbance_s = (count - 1) * seconds * (together - alone)
            seconds *= together
        self.effective_s = self.pace = seconds

    def begin(self, ticket: Ticket, work: float, cached_tokens: float, now_s: float) -> SlotRun:
        """A request takes a slot, or waits for one."""
        worker, curve = self._worker, self._service.curve
        count = len(worker.bounds.inflight)
        factor = 1.0 if curve.is_flat else curve.factor(min(count + 1, worker.limit))
        run = SlotRun(self._service, work, now_s, worker, factor)
        worker.running[run] = None
        if count >= worker.bounds.slots:
            run.waiting = True
            worker.queued += 1
        if ticket.prompt_tokens:
            run.beside = min(count, max(worker.bounds.slots - 1, 0))
            run.beside_tokens = worker.prompt_tokens
            run.prompt_tokens = ticket.prompt_tokens
            worker.prompt_tokens += ticket.prompt_tokens
        return run

    def probed(self, service_s: float) -> float:
        """A probe ended well. Its work is learned too, over all workers of a deployment."""
        service = self._service
        shared, estimate = service.shared, service.estimate
        if not estimate.samples:
            return 1.0
        work = max(service_s, FLOOR_S) / estimate.seconds
        if not shared.probe_work:
            shared.probe_work = work
        longer = work / shared.probe_work
        service.observe(service_s, shared.probe_work, RECOVERY_SMOOTHING)
        shared.probe_work += SMOOTHING * (work - shared.probe_work)
        return longer

    def retire(self) -> None:
        """Does nothing: endpoints on slots are not compared."""
