"""Workers whose requests share them: LLM engines that batch continuously.

:mod:`router.scheduling.worker_models.engine` says what a generation takes there. An engine has room
until new requests would wait long for others, or until its learned number of places is taken
(:mod:`router.scheduling.worker_models.places`). While requests wait in the router, prompts wait on
an engine for a moment only. While an overload lasts, an engine also runs no more answers than it
can give as fast as people read (:mod:`router.scheduling.worker_models.reading`).
"""

from collections.abc import Iterable
from math import inf
from typing import ClassVar

from router.contracts.engines.engine_report import EngineReport
from router.contracts.word import NO_LOAD, Load
from router.scheduling.ticket import Ticket, Used
from router.scheduling.worker_models.batch import Batch, Generation
from router.scheduling.worker_models.bookings import Bookings
from router.scheduling.worker_models.costs import Costs
from router.scheduling.worker_models.engine import Engine
from router.scheduling.worker_models.others import Averaged, OwnLoad, corrected
from router.scheduling.worker_models.places import Places
from router.scheduling.worker_models.service import Service
from router.scheduling.worker_models.slots import SlotRun
from router.scheduling.worker_models.worker_model import Bounds, EndpointModel, Run

SATURATED_S = 1.0
"""If a prompt waits longer than this for others, the engine has enough to do. More requests would
wait there in no better order than in the router, from where they can still go elsewhere.
"""

SATURATED_WAITED_FOR_S = 0.3
"""The same while requests wait in the router and first tokens are seen: the next request sent
should soon begin to be answered.
"""

UNBOUNDED = 1_000_000
"""An engine has no slots: the time to its first token decides how much it runs at once."""

LOOK_SPACING_S = 0.02
"""Every event changes an engine's batch and has it looked at. Between events only lateness
changes, so this interval is enough.
"""


class EngineRun(Run):
    """A generation in the batch: a ``Run``.

    ``_at_once`` is how many certainly ran at once when it ended, 0 if that is not known.
    """

    __slots__ = ("_at_once", "_endpoint", "_generation", "_work")

    def __init__(
        self, endpoint: "EngineEndpoint", generation: Generation, work: float, now_s: float
    ) -> None:
        self._endpoint = endpoint
        self._generation = generation
        self._work = work
        self._at_once = 0
        self.started_s = now_s
        self.waiting = False
        endpoint.worker.running[self] = None

    @property
    def expected_s(self) -> float:
        """Expected seconds in total, as known when it was sent."""
        return self._generation.expected_s

    @property
    def expected_first_s(self) -> float:
        """Expected seconds to the first token, as known when it was sent."""
        return self._generation.expected_first_s or self.expected_s

    @property
    def answered_tokens(self) -> float:
        """How many tokens of its answer have come so far."""
        return self._generation.heard_tokens * self._endpoint.engine.speed.event_tokens

    def first(self, now_s: float) -> None:
        """The first token came: learn how long it took, and how many answers run at once."""
        generation, endpoint = self._generation, self._endpoint
        if generation.first_s:
            return
        endpoint.engine.first(generation, now_s)
        took_s = now_s - generation.begun_s
        mean = (
            (generation.decoding_then - generation.decoding_at_begin) / took_s
            if took_s > 0
            else 0.0
        )
        worker = endpoint.worker
        worker.is_streamed = True
        worker.places.began(round(worker.batch.decoding), mean, took_s, generation.expected_first_s)
        worker.recheck_s = -inf

    def heard(self, tokens: int, now_s: float) -> None:
        """More tokens came."""
        generation, engine = self._generation, self._endpoint.engine
        generation.heard_tokens += tokens
        engine.batch.heard_s = now_s
        engine.heard(generation, now_s)

    def end(self, now_s: float) -> None:
        """Leave the batch."""
        worker = self._endpoint.worker
        running = worker.running
        if len(running) > worker.places.count and not self._generation.streams:
            self._at_once = list(running).index(self) + 1  # Those that came earlier still run.
        del running[self]
        worker.batch.end(self._generation, now_s)

    def learn(self, used: Used | None, now_s: float, *, silent: bool) -> float:
        """Learn from its tokens. Its duration says nothing of its size: it shared the batch."""
        endpoint = self._endpoint
        if self._at_once:
            endpoint.worker.places.ended(self._at_once)
        endpoint.engine.ended(self._generation, used, now_s)
        endpoint.service.observe(now_s - self.started_s, self._work)
        return 0.0

    def outrun(self, now_s: float) -> None:
        """Learn from an attempt that was stopped and would have gone on."""
        self._endpoint.service.was_outrun(now_s - self.started_s, self._work)


class EngineWorker(Bookings):
    """A ``WorkerModel``: it has room until it is saturated.

    While it is, one of ``_crowd`` requests is expected to end every ``_each_s / _crowd``.
    """

    __slots__ = (
        "_beside",
        "_crowd",
        "_each_s",
        "_endpoints",
        "_is_overload",
        "_is_waited_for",
        "_others",
        "_own",
        "batch",
        "is_streamed",
        "places",
        "running",
    )

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.batch = Batch()
        self._own = OwnLoad(self.batch)
        self._others = NO_LOAD
        self._beside = Averaged()
        self.places = Places(bounds.slots)
        self.running: dict[EngineRun, None] = {}
        self._endpoints: list[EngineEndpoint] = []
        self._crowd = 1
        self._each_s = 0.0
        self._is_waited_for = self._is_overload = False
        self.is_streamed = False
        """Whether any first token was seen."""

    @property
    def has_room(self) -> bool:
        """Whether a request sent now would not wait long."""
        return not self._rests and len(self.bounds.inflight) < self.limit

    def ends(self) -> list[float]:
        """As of the last look."""
        each_s, crowd = self._each_s, self._crowd
        return [self.available_s + place * each_s / crowd for place in range(crowd)]

    def endpoint(self, service: Service) -> "EngineEndpoint":
        """The model of one of its endpoints."""
        return EngineEndpoint(self, service)

    def set_endpoints(self, endpoints: Iterable[EndpointModel]) -> None:
        """Set its endpoints."""
        self._endpoints = [
            endpoint for endpoint in endpoints if isinstance(endpoint, EngineEndpoint)
        ]

    def waited_for(self, is_waited_for: bool, *, is_overload: bool = False) -> None:
        """Whether requests wait in the router for workers, and more than can be served in time."""
        if self._is_waited_for is not is_waited_for or self._is_overload is not is_overload:
            self._is_waited_for, self._is_overload = is_waited_for, is_overload
            if self.running:  # Where nothing runs it changes nothing, or until the next look.
                self.recheck_s = -inf

    def own_load(self, now_s: float) -> Load:
        """The mean load of this router there."""
        return self._own.mean(now_s)

    def others_load(self, others: Load, now_s: float) -> None:
        """Set the load of other routers there."""
        self._others = others
        self._share(now_s)

    def reported(self, report: EngineReport | None, now_s: float) -> None:
        """What the engine reports of all its requests, from any client."""
        if report is None:
            self._beside.forget()
        else:
            self._beside.observe(report.requests - len(self.bounds.inflight), now_s)
        self._share(now_s)
        self.batch.reported(report.kv_share if report is not None else None)

    def _share(self, now_s: float) -> None:
        others = self._others
        if self._endpoints and self._beside.mean is not None:
            prompt_tokens = self._endpoints[0].engine.speed.asked_tokens
            others = corrected(others, max(self._beside.mean, 0.0), prompt_tokens)
        self.batch.set_others(others, now_s)
        self.recheck_s = -inf

    def look(self, now_s: float) -> None:
        """Work out how long prompts wait, and when that wait will be short again."""
        too_long_s, each_s = 0.0, inf
        is_seen = self._is_waited_for and self.is_streamed
        tolerated_s = SATURATED_WAITED_FOR_S if is_seen else SATURATED_S
        for endpoint in self._endpoints:
            endpoint.look(now_s)
            too_long_s = max(too_long_s, endpoint.engine.waiting_s - tolerated_s)
            each_s = min(each_s, endpoint.effective_s)
        self._planned = None
        self.recheck_s = now_s + LOOK_SPACING_S
        resting_until_s = self.bounds.resting_until_s
        self._rests = now_s < resting_until_s
        running = len(self.bounds.inflight)
        room = self.places.count + self.places.reserve
        if self._is_overload:
            room = min(room, self._most_to_read())
        others = self.batch.others
        room = max(room - round(others.decoding + others.prefilling), 1)
        self.limit = min(room, self._most())
        if too_long_s:
            self.limit = min(self.limit, running)
        if self._rests or running >= self.limit:
            free_s = (
                resting_until_s if self._rests else now_s + max(too_long_s, each_s / (running + 1))
            )
            self._crowd, self._each_s = max(running, 1), each_s
            self.available_s = self.planned_s = free_s
        else:
            self.available_s = self.planned_s = 0.0

    def _most(self) -> int:
        """How many requests it is trusted with, by its lease and while it recovers."""
        bounds = self.bounds
        return bounds.trusted if bounds.trusted < bounds.configured else UNBOUNDED

    def _most_to_read(self) -> int:
        """How many answers at once come as fast as people read them; at least one."""
        most = min([endpoint.engine.answers_max() for endpoint in self._endpoints], default=inf)
        return max(round(min(most, UNBOUNDED)), 1)


class EngineEndpoint(EndpointModel):
    """An :class:`~router.scheduling.worker_models.worker_model.EndpointModel`.

    Anything but a generation (a probe, embeddings) is expected to take what it took before, and
    takes no place in the batch.
    """

    __slots__ = ("engine", "service", "worker")

    keeps_prompts: ClassVar = True

    def __init__(self, worker: EngineWorker, service: Service) -> None:
        self.worker = worker
        self.service = service
        self.engine = Engine(service.shared.engines, worker.batch)
        self._keep(self.engine.costs)
        self.effective_s = service.estimate.seconds

    def work(self, ticket: Ticket) -> float:
        """The size of a request by its tokens, where a mean request is 1."""
        return self.engine.work(ticket) if ticket.prompt_tokens else ticket.work

    def service_s(self, ticket: Ticket) -> float:
        """Seconds to the last token of a request with nothing cached."""
        prompt = ticket.prompt_tokens
        if not prompt:
            return self.service.estimate.seconds * ticket.work
        return self.engine.costs.end_s(prompt, prompt, ticket.answer_tokens)

    def cost_s(self, ticket: Ticket) -> float:
        """:meth:`service_s`, plus what the request adds to all others that run here."""
        if not ticket.prompt_tokens:
            return self.service.estimate.seconds * ticket.work
        return self.engine.costs.whole_s(ticket.prompt_tokens, ticket.answer_tokens)

    def saved_s(self, cached_tokens: float) -> float:
        """By how much that is less if this much of the prompt is cached."""
        return self.engine.costs.saved_s(cached_tokens)

    def look(self, now_s: float) -> None:
        """Take in what runs in the batch."""
        engine = self.engine
        engine.look(now_s)
        self._keep(engine.costs)
        if not self.service.generates:
            self.effective_s = self.service.estimate.seconds
            return
        speed = engine.speed
        prompt_tokens = speed.prompt_tokens
        self.effective_s = engine.costs.end_s(prompt_tokens, prompt_tokens, speed.answer_tokens)

    def _keep(self, costs: Costs) -> None:
        self.pace = costs
        prefill_s, step_s = costs.whole_prefill_s, costs.whole_step_s
        context_s, room = costs.whole_context_s, costs.room_tokens
        self.rates = (costs.ahead_s, prefill_s, step_s, context_s, room)

    def begin(self, ticket: Ticket, work: float, cached_tokens: float, now_s: float) -> Run:
        """A request is sent here."""
        if not ticket.prompt_tokens:
            return SlotRun(self.service, work, now_s)
        return EngineRun(self, self.engine.begin(ticket, cached_tokens, now_s), work, now_s)

    def probed(self, service_s: float) -> float:
        """One token shows that an engine lives, and nothing of how it serves."""
        return 1.0

    def retire(self) -> None:
        """The endpoint is gone; its siblings are compared without it."""
        self.engine.retire()
