"""The state machine: a queue in front of a fleet, and policies that match the two.

Every event returns the decisions it caused, in order. A ticket is answered exactly once, by a
:class:`Dispatch` or a :class:`Reject`, unless its caller cancels it first. An attempt holds its
slot until it ``ended``, or until the scheduler says :class:`Cancel`.

A pass looks at every waiting ticket in order. It dispatches the ticket or books its place, so that
the tickets behind it see the queue as it will be. Passes are spaced so that they cost a bounded
share of time, however many tickets wait on however many workers. Between two passes an event is
answered from what the last one found:

1. A new ticket is placed behind the booked ones.
2. A free slot goes to the first ticket for which it beats the place that it has booked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from math import inf

from router.contracts.learned import Learned
from router.contracts.word import Word
from router.domain.catalog import Endpoint, Policy
from router.scheduling import admission
from router.scheduling.affinity import BLOCK_BYTES, NOTHING_CACHED, cached_tokens
from router.scheduling.budget import Budget, hedge_budget
from router.scheduling.decisions import (
    NOT_EXPLAINED,
    Cancel,
    Decision,
    Dispatch,
    Eject,
    Hedge,
    Probe,
    Ranking,
    Reject,
    RejectReason,
)
from router.scheduling.endings import FAILED, OUTRUN, Ending, Lesson, Trust
from router.scheduling.fleet import Attempt, EndpointState, Fleet, Slate, WorkerState
from router.scheduling.hedging import HedgeClock, second_place
from router.scheduling.learning import Learning
from router.scheduling.policies import DEFAULT, POLICIES, Placement
from router.scheduling.probing import DOUBT_S, TRAFFIC_S
from router.scheduling.queue import Line, Queue, QueuedTicket, late_from_s
from router.scheduling.remembered import Remembered, learned_of
from router.scheduling.size import SizePredictor
from router.scheduling.ticket import Ticket, Used
from router.scheduling.tokens import TokenEstimates
from router.scheduling.turn import who_cannot_wait, whose_turn

TICK_S = 0.005
"""How often a queue is looked at without an event: waits shorten, workers turn out slow."""

PASS_SPACING_S = 1.5e-6
"""Time between passes, per waiting ticket and worker; a look costs about a tenth of it."""

SWEEP_S = 0.1
"""How often workers are checked for a due probe."""

AS_GOOD = 1.25
"""How much worse than the best a place with room may be, if several tenants wait."""

NOT_WASTED = 1.8
"""How many times the cheapest place's cost a stream may cost at a place that it takes so as not to
be late. Computing a whole chat again makes other streams late.
"""

ASKED_MAX = 32
"""How many streams that cannot wait are offered a place."""

PROBE_TIMEOUT_S = 2.0
NOTHING_RETRY_S = 1.0
ROUTES_MAX = 2
"""Policies of one model in use at once: the one in force, and one on trial."""


class _Route:
    """One policy of a model, its placement instance and its budget of hedges."""

    __slots__ = ("hedges", "placement", "policy")

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self.policy = policy
        self.placement: Placement = POLICIES.get(policy.kind, DEFAULT)(policy, random)
        self.hedges: Budget = hedge_budget(policy.hedge_share)


class Scheduler:
    """See the module.

    ``queue_max`` bounds how many tickets may wait; ``random`` is uniform over [0, 1). With
    ``explain`` false, decisions do not list the endpoints considered (for simulations).
    """

    def __init__(
        self, *, queue_max: int, random: Callable[[], float], explain: bool = True
    ) -> None:
        self.fleet = Fleet()
        self._queue_max = queue_max
        self._random = random
        self._explain = explain
        self._queue = Queue()
        self._routes: dict[str, list[_Route]] = {}
        self._learning = Learning()
        self._hedges = HedgeClock()
        self._is_waited_for = False
        self._attempts_made = 0
        self._passed_s = -inf
        self._arrived_s = -inf
        self._swept_s = -inf

    @property
    def sizes(self) -> SizePredictor:
        """Predicts the size of requests."""
        return self._learning.sizes

    @property
    def tokens(self) -> TokenEstimates:
        """Estimates the tokens of requests."""
        return self._learning.tokens

    @property
    def waiting(self) -> int:
        """How many tickets are queued."""
        return len(self._queue)

    @property
    def waiting_by_model(self) -> dict[str, int]:
        """How many requests wait, by model, for models that have any."""
        return dict(Counter(queued.ticket.model for queued in self._queue))

    def learned(self) -> Learned:
        """What is known of the endpoints in use, for the next run of this router."""
        return learned_of(self.fleet.endpoints.values(), self.tokens)

    # Events

    def remember(self, learned: Learned, now_s: float) -> None:
        """Take over what an earlier run learned. Each endpoint of :meth:`apply` gets its part back
        if it is unchanged.
        """
        remembered = Remembered(learned)
        self.fleet.recall = lambda state: remembered.recall(state, now_s)
        self.tokens.remember(learned.models, learned.answers)

    def apply(self, endpoints: Iterable[Endpoint], now_s: float) -> list[Decision]:
        """The catalog changed: use these endpoints from now on."""
        self.fleet.apply(endpoints)
        self._tell_workers()
        self._learning.prefixes.keep_only(self.fleet.endpoints)
        for queued in self._queue:
            queued.slate = self.fleet.slate(queued.ticket.candidates)
        return self._pass(now_s)

    def lease(self, granted: Mapping[str, int], now_s: float) -> list[Decision]:
        """Use only this many slots of these workers; other routers send to them too."""
        self.fleet.lease(granted)
        return self._pass(now_s)

    def word(self, now_s: float) -> Word:
        """What other routers should know of this router's work on engines."""
        return Word(self.fleet.loads(now_s), self._learning.prefixes.latest())

    def others_said(self, words: Sequence[Word], now_s: float) -> None:
        """Replace what is known of the other routers by what each has said last."""
        self.fleet.others_loads([word.loads for word in words], now_s)
        for word in words:
            for endpoint_id, blocks in word.prompts.items():
                if endpoint_id in self.fleet.endpoints:
                    self._learning.prefixes.others_sent(endpoint_id, blocks)

    def reported(self, worker_id: str, requests: float | None, now_s: float) -> None:
        """A worker reports how many requests it has, from all clients; None if it does not."""
        worker = self.fleet.workers.get(worker_id)
        if worker is not None:
            worker.model.reported(requests, now_s)

    def arrive(self, ticket: Ticket, now_s: float) -> list[Decision]:
        """Place a new request, queue it or refuse it."""
        self._arrived_s = now_s
        slate = self.fleet.slate(ticket.candidates)
        if ticket.streams and not slate.is_shared:
            slate.mark_shared()
        usable = slate.usable(ticket.excluded)
        if not usable:
            return [Reject(ticket, RejectReason.NOTHING_ELIGIBLE, NOTHING_RETRY_S)]
        route = self._route(ticket.policy)
        route.hedges.deposit()
        self._look(slate.workers, now_s)
        if not route.placement.queues:
            scores = route.placement.score(ticket, usable, now_s)
            best = usable[scores.index(min(scores))]
            return [self._send(ticket, best, usable, scores, now_s)]
        if self._queue.is_empty:
            scores = self._scores(route, ticket, usable, now_s)
            best = usable[scores.index(min(scores))]
            if best.worker.model.has_room:
                return [self._send(ticket, best, usable, scores, now_s)]
        refused = self._refusal(ticket, slate, usable, now_s)
        if refused is not None:
            return [refused]
        queued = self._queue.add(ticket, slate)
        if self._may_pass(now_s):
            return self._pass(now_s)
        return self._place(queued, now_s)

    def first_byte(self, attempt: Attempt, now_s: float) -> list[Decision]:
        """The answer has begun: the client gets this attempt's."""
        attempt.answering = True
        attempt.run.first(now_s)
        worker = attempt.endpoint.worker
        decisions = self._end_twin(attempt, OUTRUN, now_s) if attempt.twin is not None else []
        return decisions + self._room(worker, now_s) if worker.began() else decisions

    def ended(
        self,
        attempt: Attempt,
        ending: Ending,
        now_s: float,
        used: Used | None = None,
        *,
        rest_s: float = 0.0,
    ) -> list[Decision]:
        """An attempt is over: what follows is said in :mod:`router.scheduling.endings`.

        ``used`` is the worker's count of an answer's tokens. For ``rest_s`` the worker wants to be
        left alone.
        """
        worker = attempt.endpoint.worker
        decisions: list[Decision] = []
        is_released = worker.release(attempt, now_s)
        if is_released:
            if ending.lesson is not Lesson.NOTHING:
                self._learn(attempt, ending.lesson, used, now_s)
            if ending.trust is not Trust.KEPT:
                decisions += self._judge(attempt, ending.trust, now_s)
            if rest_s > 0:
                worker.rest(now_s + rest_s)
        if attempt.twin is not None and ending.twin is not None:
            decisions += self._end_twin(attempt, ending.twin, now_s)
        return decisions + self._room(worker, now_s) if is_released else decisions

    def withdrawn(self, ticket: Ticket) -> None:
        """The caller of a queued ticket left."""
        self._queue.remove(ticket, served=False)

    def tick(self, now_s: float) -> list[Decision]:
        """Time has passed: waits have shortened, requests have become late, probes are due."""
        decisions = self._pass(now_s) if self._queue and self._may_pass(now_s) else []
        for attempt in self._hedges.late(now_s):
            decisions += self._late(attempt, now_s)
        if self._sweeping(now_s) and now_s >= self._swept_s + SWEEP_S:
            decisions += self._sweep(now_s)
        return decisions

    def next_tick_s(self, now_s: float) -> float | None:
        """When :meth:`tick` is due without another event; None if never."""
        due_s = self._hedges.due_s()
        if not self._queue.is_empty:
            due_s = min(due_s, now_s + TICK_S)
        if self._sweeping(now_s):
            due_s = min(due_s, self._swept_s + SWEEP_S)
        return max(due_s, now_s) if due_s < inf else None

    def look(self, now_s: float) -> None:
        """Bring what is known of workers up to now, for a reader: without events nothing else
        does.
        """
        self._look(self.fleet.workers.values(), now_s)

    # Placing

    def _look(self, workers: Iterable[WorkerState], now_s: float) -> None:
        if self._is_waited_for is self._queue.is_empty:
            self._tell_workers()
        for worker in workers:
            model = worker.model
            if model.recheck_s <= now_s:
                model.look(now_s)

    def _tell_workers(self) -> None:
        """Tell workers whether requests wait here."""
        self._is_waited_for = not self._queue.is_empty
        for worker in self.fleet.workers.values():
            worker.model.waited_for(self._is_waited_for)

    def _may_pass(self, now_s: float) -> bool:
        looks = len(self._queue) * len(self.fleet.workers)
        return now_s - self._passed_s >= looks * PASS_SPACING_S

    def _pass(self, now_s: float) -> list[Decision]:
        """Look at every waiting ticket, in order."""
        if not self._queue:
            return []
        self._passed_s = now_s
        workers = self.fleet.workers.values()
        self._look(workers, now_s)
        for worker in workers:
            worker.model.unplan()
        decisions: list[Decision] = []
        lines: dict[Slate, Line] = {}
        before: list[QueuedTicket] = []
        for queued in self._queue.in_order(now_s):
            if queued.is_waiting and not self._in_line(queued, lines):
                decisions += self._place(queued, now_s, before)
                if queued.ticket.streams:
                    before.append(queued)
        return decisions

    def _in_line(self, queued: QueuedTicket, lines: dict[Slate, Line]) -> bool:
        """Whether its slate has no room left, so that no place need be looked up for it."""
        ticket = queued.ticket
        if _is_over(ticket, self._passed_s) or ticket.excluded:
            return False
        line = lines.get(queued.slate)
        if line is None:
            usable = queued.slate.usable(ticket.excluded)
            if not usable or any(state.worker.model.has_room for state in usable):
                return False
            line = lines[queued.slate] = Line(usable, queued)
        queued.score = line.join(queued)
        return True

    def _place(
        self, queued: QueuedTicket, now_s: float, before: Sequence[QueuedTicket] = ()
    ) -> list[Decision]:
        """Dispatch a queued ticket, or book its place so that those behind it see it.

        ``before`` are streams that have booked their places earlier in this pass.
        """
        ticket = queued.ticket
        if _is_over(ticket, now_s):
            return [self._give_up(queued, now_s)]
        usable = queued.slate.usable(ticket.excluded)
        if not usable:
            self._queue.remove(ticket, served=False)
            return [Reject(ticket, RejectReason.NOTHING_ELIGIBLE, NOTHING_RETRY_S)]
        route = self._route(ticket.policy)
        decisions: list[Decision] = []
        while queued.is_waiting:
            scores = self._scores(route, ticket, usable, now_s)
            queued.score = min(scores)
            best = self._choice(usable, scores)
            if not best.worker.model.has_room:
                best.worker.model.plan(best.model.service_s(ticket), now_s)
                break
            first = self._first(queued, before, best, now_s)
            if first is not queued:
                route = self._route(first.ticket.policy)
                scores = self._scores(route, first.ticket, usable, now_s)
            self._queue.remove(first.ticket, now_s)
            decisions.append(self._send(first.ticket, best, usable, scores, now_s))
            best.worker.model.look(now_s)
        return decisions

    def _first(
        self,
        queued: QueuedTicket,
        before: Sequence[QueuedTicket],
        state: EndpointState,
        now_s: float,
    ) -> QueuedTicket:
        """The ticket that takes a place found for ``queued``."""
        worker = state.worker
        if not queued.ticket.streams:
            peers = self._queue.peers(queued.ticket)
            return whose_turn(queued, peers, worker.id, queued.slate.busy_service_s(), now_s)
        for other in islice(who_cannot_wait(queued, before, worker.id, now_s), ASKED_MAX):
            usable = other.slate.usable(other.ticket.excluded)
            here_s, *all_s = self._costs_s(other.ticket, [state, *usable])
            if here_s <= NOT_WASTED * min(all_s):
                return other
        return queued

    def _choice(self, usable: Sequence[EndpointState], scores: Sequence[float]) -> EndpointState:
        """The best place. If several tenants wait, one with room that is nearly as good.

        A place left for a slightly better one goes to the tickets behind, again and again.
        """
        lowest = min(scores)
        best = usable[scores.index(lowest)]
        if best.worker.model.has_room or not self._queue.is_shared:
            return best
        with_room = [
            (score, number)
            for number, score in enumerate(scores)
            if score <= AS_GOOD * lowest and usable[number].worker.model.has_room
        ]
        return usable[min(with_room)[1]] if with_room else best

    def _room(self, worker: WorkerState, now_s: float) -> list[Decision]:
        """A slot is free: give it to the first ticket that it suits."""
        if self._queue.is_empty:
            return []
        if self._may_pass(now_s):
            return self._pass(now_s)
        worker.model.look(now_s)
        if not worker.model.has_room or worker.ejection.is_ejected:
            return []
        decisions: list[Decision] = []
        tolerance = AS_GOOD if self._queue.is_shared else 1.0
        before: list[QueuedTicket] = []
        for queued in self._queue.in_order(now_s):
            state = queued.slate.by_worker.get(worker.id)
            if not queued.is_waiting or state is None or worker.id in queued.ticket.excluded:
                continue
            if self._suits(queued, state, tolerance, now_s):
                first = (
                    self._first(queued, before, state, now_s) if queued.ticket.streams else queued
                )
                score = self._score(first.ticket, state, now_s)
                self._queue.remove(first.ticket, now_s)
                decisions.append(self._send(first.ticket, state, (state,), (score,), now_s))
                worker.model.look(now_s)
                if not worker.model.has_room:
                    break
            if queued.ticket.streams:
                before.append(queued)
        return decisions

    def _suits(
        self, queued: QueuedTicket, state: EndpointState, tolerance: float, now_s: float
    ) -> bool:
        """Whether a place is as good as the best one found for a ticket so far."""
        enough = queued.score * tolerance
        if state.model.service_s(queued.ticket) > enough and queued.is_plain:
            return False  # Its service alone takes longer: no score is needed.
        return self._score(queued.ticket, state, now_s) <= enough

    def _score(self, ticket: Ticket, state: EndpointState, now_s: float) -> float:
        (score,) = self._scores(self._route(ticket.policy), ticket, (state,), now_s)
        return score

    def _scores(
        self, route: _Route, ticket: Ticket, usable: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        scores = route.placement.score(ticket, usable, now_s)
        return self._less_cached(ticket, usable, scores)

    def _costs_s(self, ticket: Ticket, states: Sequence[EndpointState]) -> Sequence[float]:
        """Seconds of a ticket once it may begin, plus those that it adds to other requests."""
        costs_s = [state.model.cost_s(ticket) for state in states]
        return self._less_cached(ticket, states, costs_s)

    def _less_cached(
        self, ticket: Ticket, states: Sequence[EndpointState], seconds: Sequence[float]
    ) -> Sequence[float]:
        """The same, less what is saved where the beginning of the prompt is cached."""
        if not ticket.prefix:
            return seconds
        cached = self._learning.prefixes.cached(ticket.prefix)
        if not cached:
            return seconds
        each, prompt = self._block_tokens(ticket), ticket.prompt_tokens
        return [
            each_s - state.model.saved_s(cached_tokens(blocks, each, prompt))
            if (blocks := cached.get(state.id))
            else each_s
            for each_s, state in zip(seconds, states, strict=True)
        ]

    def _block_tokens(self, ticket: Ticket) -> float:
        return self._learning.tokens.prompt(ticket.model, BLOCK_BYTES)

    def _cached(self, ticket: Ticket) -> Mapping[str, int]:
        """How many blocks of its prompt each endpoint should have."""
        return self._learning.prefixes.cached(ticket.prefix) if ticket.prefix else NOTHING_CACHED

    def _send(
        self,
        ticket: Ticket,
        state: EndpointState,
        usable: Sequence[EndpointState],
        scores: Sequence[float],
        now_s: float,
    ) -> Dispatch:
        ranking, cached = NOT_EXPLAINED, self._cached(ticket)
        if self._explain:
            ranking = self._ranking(ticket, usable, scores, cached, now_s)
        return Dispatch(self._attempt(ticket, state, cached, now_s), ranking)

    def _ranking(
        self,
        ticket: Ticket,
        usable: Sequence[EndpointState],
        scores: Sequence[float],
        cached: Mapping[str, int],
        now_s: float,
    ) -> Ranking:
        planned_s = [state.worker.model.planned_s for state in usable]
        if not ticket.prompt_tokens:
            unit_s = [state.model.effective_s for state in usable]
            return Ranking(usable, planned_s, unit_s, scores, now_s, ticket.work)
        return Ranking(
            usable,
            planned_s,
            [state.model.pace for state in usable],
            scores,
            now_s,
            ticket.work,
            ticket.prompt_tokens,
            ticket.answer_tokens,
            self._block_tokens(ticket) if cached else 0.0,
            cached,
        )

    def _attempt(
        self, ticket: Ticket, state: EndpointState, cached: Mapping[str, int], now_s: float
    ) -> Attempt:
        self._attempts_made += 1
        prefix, expected = ticket.prefix, 0.0
        if prefix and state.model.keeps_prompts:
            blocks, prompt = cached.get(state.id, 0), ticket.prompt_tokens
            expected = cached_tokens(blocks, self._block_tokens(ticket), prompt)
            self._learning.prefixes.sent(prefix, state.id)
        attempt = Attempt(self._attempts_made, ticket, state, ticket.work, now_s, expected)
        state.worker.begin(attempt)
        self._hedges.watch(attempt, now_s)
        return attempt

    # Refusing

    def _refusal(
        self, ticket: Ticket, slate: Slate, usable: Sequence[EndpointState], now_s: float
    ) -> Reject | None:
        """Why the ticket should not even wait, or None."""
        waiting_s = self._wait_s(ticket, slate, usable, now_s)
        own = len(self._queue.peers(ticket))
        if not admission.may_wait(own, len(self._queue), self._queue_max):
            return Reject(
                ticket, RejectReason.QUEUE_FULL, max(waiting_s, admission.RETRY_AFTER_MIN_S)
            )
        deadline_s = min(ticket.deadline_s, ticket.expires_s)
        late_s = admission.lateness_s(ticket.work, deadline_s, waiting_s, usable, now_s)
        if late_s > 0:
            is_deadline = ticket.deadline_s <= ticket.expires_s
            reason = RejectReason.DEADLINE if is_deadline else RejectReason.EXPIRED
            return Reject(ticket, reason, max(late_s, admission.RETRY_AFTER_MIN_S))
        return None

    def _wait_s(
        self, ticket: Ticket, slate: Slate, usable: Sequence[EndpointState], now_s: float
    ) -> float:
        """How long the ticket would probably wait."""
        queue, work = self._queue, slate.work(ticket)
        all_s = admission.wait_s(queue.work_ahead(ticket, work), usable)
        if not ticket.streams:
            return all_s
        in_time_s = admission.wait_s(queue.work_ahead_in_time(ticket, work, now_s), usable)
        if now_s + in_time_s <= late_from_s(ticket):
            return min(in_time_s, all_s)
        return all_s / queue.late_share(ticket.tenant)

    def _give_up(self, queued: QueuedTicket, now_s: float) -> Reject:
        ticket = queued.ticket
        self._queue.remove(ticket, served=False)
        expired = now_s >= ticket.expires_s
        usable = queued.slate.usable(ticket.excluded)
        waiting_s = admission.wait_s(self._queue.work_ahead(ticket, queued.work), usable)
        reason = RejectReason.EXPIRED if expired else RejectReason.DEADLINE
        return Reject(ticket, reason, max(waiting_s, admission.RETRY_AFTER_MIN_S))

    # Attempts that are over

    def _learn(self, attempt: Attempt, lesson: Lesson, used: Used | None, now_s: float) -> None:
        if lesson is Lesson.CENSORED:
            return attempt.run.outrun(now_s)
        if attempt.is_probe:
            return self._learning.probed(attempt, now_s)
        self._learning.answered(attempt, used, now_s)
        shared = attempt.endpoint.service.shared
        if shared.sharing.is_shown and not shared.has_engines:
            self.fleet.slate(attempt.ticket.candidates).mark_shared()
        placement = self._route(attempt.ticket.policy).placement
        placement.completed(attempt.endpoint, now_s - attempt.dispatched_s, now_s)

    def _judge(self, attempt: Attempt, trust: Trust, now_s: float) -> list[Decision]:
        """The worker is trusted more or less for how an attempt ended there."""
        worker = attempt.endpoint.worker
        if trust is Trust.GAINED:
            self.fleet.trust_changes += worker.answered()
            return []
        if trust is Trust.LOST_IF_SILENT and (
            attempt.is_hedge or worker.probes.heard_s > attempt.dispatched_s
        ):
            return []
        is_doubt = trust is Trust.DOUBTED and not attempt.is_probe
        tenant = attempt.ticket.tenant if is_doubt else None
        if not worker.ejection.failed(attempt.dispatched_s, now_s, tenant):
            return []
        self.fleet.trust_changes += 1
        return [Eject(worker.id, worker.ejection.until_s)]

    def _end_twin(self, attempt: Attempt, ending: Ending, now_s: float) -> list[Decision]:
        """The race of a hedge is decided: stop the other attempt, unless it is over."""
        twin, attempt.twin = attempt.twin, None
        if twin is None:
            return []
        twin.twin = None
        if twin.id not in twin.endpoint.worker.inflight:
            return []
        return [Cancel(twin), *self.ended(twin, ending, now_s)]

    # Hedges and probes

    def _late(self, attempt: Attempt, now_s: float) -> list[Decision]:
        """An attempt is late: send it twice if that is wise, otherwise look again later."""
        if attempt.is_probe:
            return self._probe_timed_out(attempt, now_s)
        ticket = attempt.ticket
        if attempt.answering or attempt.twin is not None:
            return []
        route = self._route(ticket.policy)
        if route.placement.queues and not self._queue:
            slate = self.fleet.slate(ticket.candidates)
            self._look(slate.workers, now_s)
            state = second_place(attempt, slate.usable(ticket.excluded), now_s)
            if state is not None and route.hedges.withdraw():
                second = self._attempt(ticket, state, self._cached(ticket), now_s)
                second.is_hedge = True
                attempt.twin, second.twin = second, attempt
                return [Hedge(second, attempt)]
        self._hedges.watch(attempt, now_s, again=True)
        return []

    def _sweeping(self, now_s: float) -> bool:
        return now_s - self._arrived_s < TRAFFIC_S

    def _sweep(self, now_s: float) -> list[Decision]:
        """Probe the workers that are due."""
        self._swept_s = now_s
        decisions: list[Decision] = []
        for worker in self.fleet.workers.values():
            ejection = worker.ejection
            if worker.probes.running or not worker.endpoints:
                continue
            if ejection.is_ejected:
                if ejection.is_open(now_s):
                    continue
            elif ejection.is_doubted:
                if now_s < worker.probes.asked_s + DOUBT_S:
                    continue
            elif (
                worker.inflight
                or now_s < worker.probes.due_s()
                or not any(state.estimate.samples for state in worker.endpoints)
            ):
                continue
            decisions.append(self._probe(worker, now_s))
        return decisions

    def _probe(self, worker: WorkerState, now_s: float) -> Probe:
        self._attempts_made += 1
        state = max(worker.endpoints, key=lambda state: state.estimate.samples)
        ticket = Ticket(
            id=f"probe-{self._attempts_made}",
            candidates=(state.id,),
            policy=Policy(0, 0, state.endpoint.deployment.model),
            arrived_s=now_s,
            expires_s=now_s + PROBE_TIMEOUT_S,
        )
        work = state.service.shared.probe_work or 1.0
        attempt = Attempt(self._attempts_made, ticket, state, work, now_s)
        attempt.is_probe = True
        worker.begin(attempt)
        worker.probes.running = True
        worker.probes.asked_s = now_s
        self._hedges.watch(attempt, now_s, patience_s=PROBE_TIMEOUT_S)
        return Probe(attempt)

    def _probe_timed_out(self, attempt: Attempt, now_s: float) -> list[Decision]:
        return [Cancel(attempt), *self.ended(attempt, FAILED, now_s)]

    def _route(self, policy: Policy) -> _Route:
        routes = self._routes.setdefault(policy.model, [])
        for route in routes:
            if route.policy is policy:
                return route
            if route.policy == policy:  # The same policy from a newer snapshot.
                route.policy = policy
                return route
        route = _Route(policy, self._random)
        routes[:] = [route, *routes[: ROUTES_MAX - 1]]
        return route


def _is_over(ticket: Ticket, now_s: float) -> bool:
    """Whether waiting makes no sense any more."""
    return now_s >= ticket.expires_s or now_s >= ticket.deadline_s
