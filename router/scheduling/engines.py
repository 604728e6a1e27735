"""Workers that are shared by all that they work on: LLM engines that batch continuously.

What a generation takes there is :mod:`router.scheduling.engine`'s to say. An engine has room until
those that come would wait long for others, or until its learned number of places
(:mod:`router.scheduling.places`) is taken. While requests wait in the router it is kept at what it
does in good time: prompts wait there for a moment only, and no more answers are under way than come
as fast as they are read (:mod:`router.scheduling.reading`).
"""

from collections.abc import Iterable
from math import inf
from typing import ClassVar

from router.contracts.word import NO_LOAD, Load
from router.domain.catalog import Endpoint
from router.scheduling.batch import Batch, Generation
from router.scheduling.bookings import Bookings
from router.scheduling.costs import Costs
from router.scheduling.engine import Engine
from router.scheduling.others import Averaged, OwnLoad, corrected
from router.scheduling.places import Places
from router.scheduling.service import Service
from router.scheduling.slots import SlotRun
from router.scheduling.ticket import Ticket, Used
from router.scheduling.worker_model import Bounds, EndpointModel, Run

SERVERS = ("vllm", "sglang", "tensorrt-llm", "tgi", "text-generation-inference", "lmdeploy")
NAMED = (*SERVERS, "emulator")
"""Servers of chat that always batch continuously, and what emulates them. Others (llama.cpp,
Ollama) do as they were started, often one request at a time, and have to show it.
"""

SATURATED_S = 1.0
"""An engine on which a prompt waits longer than this for others has enough to do: what it is sent
beyond that waits in no better order than here, where it may still go elsewhere.
"""

SATURATED_WAITED_FOR_S = 0.3
"""The same while requests wait here, where first tokens are seen: whoever goes next is to begin to
be answered soon after.
"""

UNBOUNDED = 1_000_000
"""An engine has no slots: what it runs at once is for its time to the first token to say."""

LOOK_SPACING_S = 0.02
"""An engine's batch changes with every event, which has it looked at; between two of them only
what is late changes.
"""


def is_named(endpoint: Endpoint) -> bool:
    """Whether the catalog says that an endpoint's worker is an engine."""
    return endpoint.task == "chat" and endpoint.pool.engine.casefold().startswith(NAMED)


class EngineRun(Run):
    """A generation in the batch: a :class:`~router.scheduling.worker_model.Run`.

    ``_at_once`` is how many were certainly worked on when it ended, where that says something.
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
        """Seconds that it should take, by what was known when it was sent."""
        return self._generation.expected_s

    @property
    def expected_first_s(self) -> float:
        """By what was known when it was sent."""
        return self._generation.expected_first_s or self.expected_s

    @property
    def answered_tokens(self) -> float:
        """Tokens of its answer that have come so far."""
        return self._generation.heard_tokens * self._endpoint.engine.speed.event_tokens

    def first(self, now_s: float) -> None:
        """The first token came: learn how long it took, and how many are under way at once."""
        one, endpoint = self._generation, self._endpoint
        if one.first_s:
            return
        endpoint.engine.first(one, now_s)
        took_s = now_s - one.begun_s
        mean = (one.decoding_then - one.decoding_at_begin) / took_s if took_s > 0 else 0.0
        worker = endpoint.worker
        worker.is_streamed = True
        worker.places.began(round(worker.batch.decoding), mean, took_s, one.expected_first_s)
        worker.recheck_s = -inf

    def heard(self, tokens: int, now_s: float) -> None:
        """More tokens came."""
        one, engine = self._generation, self._endpoint.engine
        one.heard_tokens += tokens
        engine.batch.heard_s = now_s
        engine.heard(one, now_s)

    def end(self, now_s: float) -> None:
        """Leave the batch."""
        worker = self._endpoint.worker
        running = worker.running
        if len(running) > worker.places.count and not self._generation.streams:
            self._at_once = list(running).index(self) + 1  # Those that came before it are there.
        del running[self]
        worker.batch.end(self._generation, now_s)

    def learn(self, used: Used | None, now_s: float, *, silent: bool) -> float:
        """Learn from its tokens. What it took says nothing of its size: others were in it."""
        endpoint = self._endpoint
        if self._at_once:
            endpoint.worker.places.ended(self._at_once)
        endpoint.engine.ended(self._generation, used, now_s)
        endpoint.service.observe(now_s - self.started_s, self._work)
        return 0.0

    def outrun(self, now_s: float) -> None:
        """It would have gone on."""
        self._endpoint.service.was_outrun(now_s - self.started_s, self._work)


class EngineWorker(Bookings):
    """A :class:`~router.scheduling.worker_model.WorkerModel`: it has room until it is saturated."""

    __slots__ = (
        "_beside",
        "_endpoints",
        "_is_waited_for",
        "_own",
        "_said",
        "batch",
        "is_streamed",
        "places",
        "running",
    )

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.batch = Batch()
        self._own = OwnLoad(self.batch)
        self._said = NO_LOAD
        self._beside = Averaged()
        self.places = Places(bounds.slots)
        self.running: dict[EngineRun, None] = {}
        self._endpoints: list[EngineEndpoint] = []
        self._is_waited_for = False
        self.is_streamed = False
        """Whether anybody has seen a first token."""

    @property
    def has_room(self) -> bool:
        """Whether what is sent there would not wait long."""
        return not self._rests and len(self.bounds.inflight) < self.limit

    def endpoint(self, service: Service) -> "EngineEndpoint":
        """The model of one of its endpoints."""
        return EngineEndpoint(self, service)

    def serves(self, endpoints: Iterable[EndpointModel]) -> None:
        """These are its endpoints from now on."""
        self._endpoints = [one for one in endpoints if isinstance(one, EngineEndpoint)]

    def waited_for(self, is_waited_for: bool) -> None:
        """Whether requests wait in the router for workers."""
        if self._is_waited_for is not is_waited_for:
            self._is_waited_for = is_waited_for
            self.recheck_s = -inf

    def own_load(self, now_s: float) -> Load:
        """What this router has there, on average."""
        return self._own.mean(now_s)

    def others_load(self, others: Load, now_s: float) -> None:
        """Other routers have this there."""
        self._said = others
        self._share(now_s)

    def reported(self, requests: float | None, now_s: float) -> None:
        """So many are there by the engine's own count, sent by whomever."""
        if requests is None:
            self._beside.forget()
        else:
            self._beside.saw(requests - len(self.bounds.inflight), now_s)
        self._share(now_s)

    def _share(self, now_s: float) -> None:
        others = self._said
        if self._endpoints and self._beside.mean is not None:
            prompt_tokens = self._endpoints[0].engine.speed.asked_tokens
            others = corrected(others, max(self._beside.mean, 0.0), prompt_tokens)
        self.batch.share(others, now_s)
        self.recheck_s = -inf

    def look(self, now_s: float) -> None:
        """Work out how long prompts wait, and when that will be less."""
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
        if self._is_waited_for:
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
            count = max(running, 1)
            self._ends = [free_s + place * each_s / count for place in range(count)]
            self.available_s = self.planned_s = free_s
        else:
            self.available_s = self.planned_s = 0.0

    def _most(self) -> int:
        """How many requests it is trusted with: those of a lease, and while it comes back."""
        bounds = self.bounds
        return bounds.trusted if bounds.trusted < bounds.told else UNBOUNDED

    def _most_to_read(self) -> int:
        """How many answers at once come as fast as they are read; at least one."""
        most = min((one.engine.answers_max() for one in self._endpoints), default=inf)
        return max(round(min(most, UNBOUNDED)), 1)


class EngineEndpoint(EndpointModel):
    """An :class:`~router.scheduling.worker_model.EndpointModel`. What is no generation (a probe,
    embeddings) takes what it took before, and no place in the batch.
    """

    __slots__ = ("engine", "service", "worker")

    keeps_prompts: ClassVar = True

    def __init__(self, worker: EngineWorker, service: Service) -> None:
        self.worker = worker
        self.service = service
        self.engine = Engine(service.shared.engines, worker.batch)
        self.effective_s = service.estimate.seconds

    @property
    def pace(self) -> Costs:
        """What a generation costs here since the last look."""
        return self.engine.costs

    def work(self, ticket: Ticket) -> float:
        """How large a request is by its tokens, where a mean one is 1."""
        return self.engine.work(ticket) if ticket.prompt_tokens else ticket.work

    def service_s(self, ticket: Ticket) -> float:
        """Seconds to the last token of a request of whose prompt nothing is cached."""
        prompt = ticket.prompt_tokens
        if not prompt:
            return self.service.estimate.seconds * ticket.work
        return self.engine.costs.end_s(prompt, prompt, ticket.answer_tokens)

    def cost_s(self, ticket: Ticket) -> float:
        """:meth:`service_s`, and what it adds to all others that run here."""
        if not ticket.prompt_tokens:
            return self.service.estimate.seconds * ticket.work
        return self.engine.costs.whole_s(ticket.prompt_tokens, ticket.answer_tokens)

    def saved_s(self, cached_tokens: float) -> float:
        """How much less that is when so much of the prompt is cached."""
        return self.engine.costs.saved_s(cached_tokens)

    def look(self, now_s: float) -> None:
        """Take in what runs in the batch."""
        engine = self.engine
        engine.look(now_s)
        speed = engine.speed
        prompt_tokens = speed.prompt_tokens
        self.effective_s = engine.costs.end_s(prompt_tokens, prompt_tokens, speed.answer_tokens)

    def begin(self, ticket: Ticket, work: float, cached_tokens: float, now_s: float) -> Run:
        """A request is sent there."""
        if not ticket.prompt_tokens:
            return SlotRun(self.service, work, now_s)
        return EngineRun(self, self.engine.begin(ticket, cached_tokens, now_s), work, now_s)

    def probed(self, service_s: float) -> float:
        """One token says that an engine lives, and nothing of how it serves."""
        return 1.0

    def retire(self) -> None:
        """Its siblings are compared without it."""
        self.engine.retire()
