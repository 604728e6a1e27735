"""Our scheduler in front of simulated engines. It gets what the gateway reports."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from math import inf
from random import Random

import msgspec

from router.contracts.engines.engine_report import EngineReport
from router.domain.catalog import Deployment, Endpoint, EngineCurve, Policy, Pool, Worker
from router.domain.money import NANO_PER_USD
from router.domain.pricing import Price
from router.domain.request import BYTES_PER_TOKEN
from router.scheduling.attempts.endings import ANSWERED, FAILED, GIVEN_UP
from router.scheduling.decisions import Cancel, Decision, Dispatch, Hedge, Probe, Reject
from router.scheduling.estimates.tokens import ANSWER_GUESS
from router.scheduling.fleet.budget import retry_budget
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import NO_TERMS, Ticket, Used
from router.simulator.engines import batching
from router.simulator.engines.batching import EngineSpec
from router.simulator.engines.simulation import Call, EngineSimulation

MODEL = "simulated"
ATTEMPTS_MAX = 3
PROBE_TOKENS = 8
PROBE_NAME = -(1 << 40)
MEAN_PROMPT_TOKENS = 2_000.0
"""The prompt length if sizes are left out: about the mean of the scenarios."""


def most_sequences(spec: EngineSpec) -> int:
    """The slots that an operator reads from an engine's settings."""
    return spec.sequences_max


BENCHMARKED_TOKENS = 64
"""Tokens of the prompts and of the answers in a benchmark."""


class Told(StrEnum):
    """What the catalog knows of engines besides their slots."""

    NOTHING = "nothing"
    HARDWARE = "hardware"
    BENCHMARK = "benchmark"
    """How long a request takes alone."""


def endpoint(
    spec: EngineSpec,
    number: int,
    slots: int,
    engine: str = "",
    told: Told = Told.NOTHING,
    curve: EngineCurve | None = None,
) -> Endpoint:
    """An engine in the catalog's form: one deployment per class."""
    tokens = BENCHMARKED_TOKENS
    alone_s = tokens / spec.prefill_hz + tokens * spec.step_s(1, 1.5 * tokens)
    hardware = "" if told is Told.NOTHING else spec.kind
    deployment = Deployment(
        id=number,
        model=MODEL,
        provider=spec.kind,
        provider_account_id=0,
        pool=spec.kind,
        upstream_model=MODEL,
        price=Price(number),
        service_prior_ms=1e3 * alone_s if told is Told.BENCHMARK else 0.0,
        engine_prior=curve,
    )
    worker = Worker(spec.name, spec.kind, f"http://{spec.name}", "openai", slots)
    pool = Pool(spec.kind, hardware, engine=engine)
    return Endpoint(f"{spec.kind}@{spec.name}", deployment, worker, pool)


class Part(StrEnum):
    """What our scheduler can be left without, to see what it is worth."""

    OTHERS = "others"
    """What a request adds to others that run there."""
    PREFIXES = "prefixes"
    """Which engine has the beginning of a prompt."""
    SIZES = "sizes"
    """The length of a prompt, and of earlier answers: without it, all have mean lengths."""
    REPORTS = "reports"
    """What engines say of themselves: how many requests they have, and how full their caches are.
    """


REPORT_S = 1.0
"""How often they are asked, as the product does."""


class _Request:
    """A call's attempts, or its place in the queue."""

    __slots__ = ("attempts", "excluded", "ticket", "tries")

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.excluded: frozenset[str] = frozenset()
        self.tries = 0
        self.ticket: Ticket | None = None


class Scheduled:
    """See the module.

    The catalog states each engine's ``slots``, made from its spec, and ``engine``, the server that
    runs there. ``told`` says what else it knows. ``curves`` are a benchmark of streams by class.
    Without ``streams``, answers come whole. The scheduler does without the parts in ``lacks``. If
    there is a ``catalog`` of deployments by kind of engine, it replaces all that, and each request
    costs its deployment's price of one. No request waits in the router longer than
    ``queue_wait_s``.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        seed: int = 1,
        *,
        slots: Callable[[EngineSpec], int] = most_sequences,
        streams: bool = True,
        engine: str = "",
        told: Told = Told.NOTHING,
        curves: Mapping[str, EngineCurve] | None = None,
        lacks: frozenset[Part] = frozenset(),
        catalog: Mapping[str, Deployment] | None = None,
        queue_max: int = 10_000,
        queue_wait_s: float = inf,
    ) -> None:
        self.scheduler = Scheduler(
            queue_max=queue_max, random=Random(f"router-{seed}").random, explain=False
        )
        self.hedges = self.probes = self.ejections = self.retries = 0
        self._policy = policy or Policy(1, 1, MODEL)
        self._slots = slots
        self._streams = streams
        self._engine = engine
        self._told = told
        self._curves = dict(curves or {})
        self._lacks = lacks
        self._catalog = catalog
        self._queue_wait_s = queue_wait_s
        self._penalties: Mapping[str, float] = NO_TERMS
        self._retry_budget = retry_budget()
        self._calls: dict[str, Call] = {}
        self._sequences: dict[Attempt, batching.Sequence] = {}
        self._engines: dict[str, int] = {}
        self._tick_due_s = inf

    def begin(self, simulation: EngineSimulation) -> None:
        """Publish the fleet."""
        self._simulation = simulation
        self._specs = [engine.spec for engine in simulation.engines]
        self._engines = {spec.name: number for number, spec in enumerate(self._specs)}
        self._publish()
        if Part.OTHERS in self._lacks:
            for state in self.scheduler.fleet.endpoints.values():
                state.service.shared.engines.others_count = 0.0
        if Part.REPORTS not in self._lacks:
            simulation.at(REPORT_S, self._ask, None)

    def benchmarked(self, curves: Mapping[str, EngineCurve]) -> None:
        """Publish a snapshot with newer benchmarks of some classes."""
        self._curves |= curves
        self._publish()

    def _publish(self) -> None:
        kinds = {kind: n for n, kind in enumerate(dict.fromkeys(s.kind for s in self._specs), 1)}
        endpoints = [
            endpoint(
                spec,
                kinds[spec.kind],
                self._slots(spec),
                self._engine,
                self._told,
                self._curves.get(spec.kind),
            )
            for spec in self._specs
        ]
        if (catalog := self._catalog) is not None:
            endpoints = [
                msgspec.structs.replace(endpoint_, deployment=catalog[spec.kind])
                for endpoint_, spec in zip(endpoints, self._specs, strict=True)
            ]
            usd_weight_s = self._policy.usd_weight_s / NANO_PER_USD
            self._penalties = {
                endpoint_.id: endpoint_.deployment.price.request_nano * usd_weight_s
                for endpoint_ in endpoints
            }
        self._candidates = tuple(endpoint_.id for endpoint_ in endpoints)
        self._apply(self.scheduler.apply(endpoints, self._simulation.now_s))

    def arrived(self, call: Call) -> None:
        """Hand the call to the scheduler."""
        call.placed = _Request()
        self._retry_budget.deposit()
        self._place(call)

    def stepped(
        self, engine: int, joined: Sequence[batching.Sequence], ended: Sequence[batching.Sequence]
    ) -> None:
        """Tell the scheduler the results of the answers."""
        heard(self._simulation, engine)
        self.told(joined, ended)

    def told(self, joined: Sequence[batching.Sequence], ended: Sequence[batching.Sequence]) -> None:
        """Tell which answers have begun and ended; those of other routers are skipped."""
        now_s = self._simulation.now_s
        if not self._streams:
            joined = ()
        for sequence in joined:
            attempt: Attempt = sequence.placed
            if attempt in self._sequences and not attempt.answering and not attempt.is_probe:
                self._apply(self.scheduler.first_byte(attempt, now_s))
        for sequence in ended:
            self._completed(sequence, now_s)

    def failed(self, sequence: batching.Sequence) -> None:
        """Blame its engine, and try again unless the answer has begun or a hedge runs."""
        attempt: Attempt = sequence.placed
        if self._sequences.pop(attempt, None) is None:
            return
        call = sequence.owner
        raced = attempt.twin is not None and attempt.twin in self._sequences
        self._apply(self.scheduler.ended(attempt, FAILED, self._simulation.now_s))
        if not isinstance(call, Call) or call.over or raced or call.answering is not None:
            return
        request: _Request = call.placed
        request.tries += 1
        request.excluded |= {attempt.endpoint.worker.id}
        left = len(self._engines) > len(request.excluded)
        if request.tries < ATTEMPTS_MAX and left and self._retry_budget.withdraw():
            self.retries += 1
            self._place(call)
        else:
            self._simulation.give_up(call, "worker_failed")

    def left(self, call: Call) -> None:
        """Withdraw the call."""
        now_s = self._simulation.now_s
        request: _Request = call.placed
        if self._calls.pop(str(call.number), None) is not None and request.ticket is not None:
            self.scheduler.withdrawn(request.ticket)
        for attempt in request.attempts:
            if self._sequences.pop(attempt, None) is not None:
                self._apply(self.scheduler.ended(attempt, GIVEN_UP, now_s))

    def lease(self, granted: Mapping[str, int]) -> None:
        """Use this many slots of each engine."""
        self._apply(self.scheduler.lease(granted, self._simulation.now_s))

    def _place(self, call: Call) -> None:
        scheduler, now_s, turn = self.scheduler, self._simulation.now_s, call.turn
        load = self._simulation.scenario.load
        features = (turn.prompt_bytes / BYTES_PER_TOKEN, float(load.answer_max))
        request: _Request = call.placed
        tenant = call.session.tenant
        prompt_tokens = scheduler.tokens.prompt(MODEL, turn.prompt_bytes)
        answer_tokens = scheduler.tokens.answer(MODEL, tenant, load.answer_max)
        if Part.SIZES in self._lacks:
            prompt_tokens, answer_tokens = MEAN_PROMPT_TOKENS, ANSWER_GUESS
        request.ticket = ticket = Ticket(
            id=str(call.number),
            candidates=self._candidates,
            policy=self._policy,
            arrived_s=call.at_s,
            expires_s=call.at_s
            + min(self._simulation.scenario.client_timeout_s, self._queue_wait_s),
            work=scheduler.sizes.predict(MODEL, features),
            features=features,
            prefix=() if Part.PREFIXES in self._lacks else call.prefix,
            prompt_tokens=prompt_tokens,
            prompt_bytes=turn.prompt_bytes,
            answer_tokens=answer_tokens,
            answer_tokens_max=load.answer_max,
            streams=self._streams,
            tenant=tenant,
            excluded=request.excluded,
            penalty_s=self._penalties,
        )
        self._calls[ticket.id] = call
        self._apply(scheduler.arrive(ticket, now_s))

    def _completed(self, sequence: batching.Sequence, now_s: float) -> None:
        attempt: Attempt = sequence.placed
        if self._sequences.pop(attempt, None) is None:
            return
        used = None
        if not attempt.is_probe:
            if attempt.answering and sequence.answer_events > 1:
                attempt.heard(1, now_s)
            used = Used(sequence.prompt_tokens, sequence.cached_tokens, sequence.answer_events)
        self._apply(self.scheduler.ended(attempt, ANSWERED, now_s, used))

    def _apply(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch):
                self._send(self._calls.pop(decision.attempt.ticket.id), decision.attempt)
            elif isinstance(decision, Hedge):
                self.hedges += 1
                of = self._sequences[decision.of].owner
                if isinstance(of, Call):
                    self._send(of, decision.attempt)
            elif isinstance(decision, Probe):
                self.probes += 1
                self._probe(decision.attempt)
            elif isinstance(decision, Cancel):
                sequence = self._sequences.pop(decision.attempt, None)
                if sequence is not None:
                    self._simulation.abort(sequence)
            elif isinstance(decision, Reject):
                call = self._calls.pop(decision.ticket.id)
                self._simulation.give_up(call, decision.reason.value)
            else:
                self.ejections += 1
        self._tick_again()

    def _send(self, call: Call, attempt: Attempt) -> None:
        request: _Request = call.placed
        request.attempts.append(attempt)
        self._submit(self._simulation.sequence(call), attempt)

    def _probe(self, attempt: Attempt) -> None:
        self._submit(
            batching.Sequence((), PROBE_TOKENS, 1, batching.one_segment(PROBE_NAME)), attempt
        )

    def _submit(self, sequence: batching.Sequence, attempt: Attempt) -> None:
        sequence.placed = attempt
        self._sequences[attempt] = sequence
        self._simulation.send(sequence, self._engines[attempt.endpoint.worker.id])

    def _ask(self, _: object) -> None:
        """Every engine says what it has; one that is down or hangs says nothing."""
        now_s = self._simulation.now_s
        for engine in self._simulation.engines:
            report = None
            if engine.up and not engine.hung:
                requests = len(engine.running) + len(engine.waiting)
                report = EngineReport(requests, engine.cache.used / engine.cache.capacity)
            self.scheduler.reported(engine.spec.name, report, now_s)
        self._simulation.at(now_s + REPORT_S, self._ask, None)

    def _tick_again(self) -> None:
        due_s = self.scheduler.next_tick_s(self._simulation.now_s)
        if due_s is not None and due_s < self._tick_due_s:
            self._tick_due_s = due_s
            self._simulation.at(due_s, self._tick, due_s)

    def _tick(self, due_s: float) -> None:
        if due_s == self._tick_due_s:  # Otherwise an earlier tick has taken its place.
            self._tick_due_s = inf
            self._apply(self.scheduler.tick(self._simulation.now_s))


def heard(simulation: EngineSimulation, engine: int) -> None:
    """One more event of every running answer of an engine has come."""
    for sequence in simulation.engines[engine].decoding:
        if sequence.placed.answering:
            sequence.placed.heard(1, simulation.now_s)
