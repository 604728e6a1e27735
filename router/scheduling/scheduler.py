"""The state machine: a queue in front of a fleet, and policies that match the two.

Every event returns the decisions it caused, in order. A ticket is answered exactly once, by a
:class:`Dispatch` or a :class:`Reject`, unless its caller cancels it first. An attempt holds its
slot until it ``ended``, or until the scheduler says :class:`Cancel`.

Each part is a file beside this one: ``matching`` gives places to waiting tickets, ``admission``
refuses those that would wait in vain, ``sending`` begins attempts, ``endings`` says what follows
from how they end, and ``prober`` asks idle workers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from msgspec.structs import replace

from router.contracts.engines.engine_report import EngineReport
from router.contracts.engines.kv_events import KvEvent
from router.contracts.learned import Learned
from router.contracts.word import Word
from router.domain.catalog import Endpoint
from router.scheduling.attempts.endings import (
    CENSORED,
    DOUBTED,
    FAILED,
    GAINED,
    KEPT,
    LOST_IF_SILENT,
    NOTHING,
    OUTRUN,
    Ending,
    Lesson,
    Trust,
)
from router.scheduling.attempts.hedging import (
    LATE,
    LATE_AGAIN,
    HedgeClock,
    batch_patience_s,
    second_place,
)
from router.scheduling.attempts.prober import Prober
from router.scheduling.attempts.sending import Sender
from router.scheduling.caches.affinity import BLOCKS_MAX as PREFIX_BLOCKS_MAX
from router.scheduling.caches.engine_caches import BLOCKS_MAX as KV_BLOCKS_MAX
from router.scheduling.caches.engine_caches import Followed
from router.scheduling.decisions import Cancel, Decision, Eject
from router.scheduling.estimates.size import SizePredictor
from router.scheduling.estimates.tokens import TokenEstimates
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.fleet.worker import Attempt
from router.scheduling.fleet.yielding import NOTHING_LEFT_FREE, Yielding
from router.scheduling.learning import Learning
from router.scheduling.matching import Matching
from router.scheduling.remembered import Remembered, learned_of
from router.scheduling.routes import Routes
from router.scheduling.scoring import Scoring
from router.scheduling.ticket import Ticket, Used
from router.scheduling.waiting.admission import Admission, nothing_eligible
from router.scheduling.waiting.queue import Queue
from router.scheduling.waiting.standing import Standing, standing_of, standings

TICK_S = 0.005
"""How often a queue is looked at without an event: waits shorten, workers turn out slow."""


class Scheduler:
    """See the module.

    ``queue_max`` bounds how many tickets may wait; ``random`` is uniform over [0, 1). With
    ``explain`` false, decisions do not list the endpoints considered (for simulations).
    ``yielding`` says what batch work leaves free, ``prefix_blocks_max`` how many blocks of prompts
    are remembered, ``kv_blocks_max`` how many blocks of engines' caches are followed.
    """

    def __init__(
        self,
        *,
        queue_max: int,
        random: Callable[[], float],
        explain: bool = True,
        yielding: Yielding = NOTHING_LEFT_FREE,
        prefix_blocks_max: int = PREFIX_BLOCKS_MAX,
        kv_blocks_max: int = KV_BLOCKS_MAX,
    ) -> None:
        self.fleet = Fleet()
        self._queue = Queue()
        self._yielding = yielding
        self._learning = Learning(prefix_blocks_max, kv_blocks_max)
        self._watched = HedgeClock()
        self._routes = Routes(random)
        self._scoring = Scoring(self._routes, self._learning)
        self._sender = Sender(
            self.fleet, self._scoring, self._learning, self._watched, explain=explain
        )
        self._admission = Admission(self._queue, queue_max)
        self._matching = Matching(
            self.fleet,
            self._queue,
            self._admission,
            self._routes,
            self._scoring,
            self._sender,
            yielding,
        )
        self._prober = Prober(self._sender)

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

    def standings(self, now_s: float) -> dict[str, Standing]:
        """Where each queued ticket stands, by its id."""
        return standings(self._queue, now_s)

    def standing(self, ticket: Ticket) -> Standing | None:
        """Where a ticket stands that has just come; None if it does not wait."""
        return standing_of(self._queue, self.fleet.slate(ticket.candidates), ticket)

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
        self._matching.tell_workers()
        self._learning.prefixes.keep_only(self.fleet.endpoints)
        self._learning.caches.keep_only(self.fleet.workers)
        for queued in self._queue:
            queued.slate = self.fleet.slate(queued.ticket.candidates)
        return self._matching.run_pass(now_s)

    def lease(self, granted: Mapping[str, int], now_s: float) -> list[Decision]:
        """Use only this many slots of these workers; other routers send to them too."""
        self.fleet.lease(granted)
        return self._matching.run_pass(now_s)

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

    def reported(self, worker_id: str, report: EngineReport | None, now_s: float) -> None:
        """What a worker says of itself; None if it does not say."""
        worker = self.fleet.workers.get(worker_id)
        if worker is not None:
            worker.model.reported(report, now_s)

    def kv_events(self, worker_id: str, events: Sequence[KvEvent] | None, now_s: float) -> None:
        """A worker says what it has stored and removed; None: something of that was missed."""
        if worker_id in self.fleet.workers:
            self._learning.caches.heard(worker_id, events, now_s)

    def kv_followed(self, worker_id: str) -> Followed | None:
        """How a worker's cache is followed; None if it does not say what is in it."""
        return self._learning.caches.followed(worker_id)

    def arrive(self, ticket: Ticket, now_s: float) -> list[Decision]:
        """Place a new request, queue it or refuse it."""
        self._prober.arrived(now_s)
        slate = self.fleet.slate(ticket.candidates)
        if ticket.streams and not slate.is_shared:
            slate.mark_shared()
        usable = slate.usable(ticket.excluded)
        if not usable:
            return [nothing_eligible(ticket)]
        route = self._routes.of(ticket.policy)
        route.hedges.deposit()
        self._matching.look(slate.workers, now_s)
        if not route.placement.queues:
            leased = [state for state in usable if state.worker.slots] or usable
            scores = route.placement.score(ticket, leased, now_s)
            best = leased[scores.index(min(scores))]
            return [self._sender.send(ticket, best, leased, scores, now_s)]
        if self._queue.is_empty and (open_to := self._yielding.open_to(ticket, usable, now_s)):
            scores = self._scoring.scores(route, ticket, open_to, now_s)
            best = open_to[scores.index(min(scores))]
            if best.worker.model.has_room:
                return [self._sender.send(ticket, best, open_to, scores, now_s)]
        refused = self._admission.refusal(ticket, slate, usable, now_s)
        if refused is not None:
            return [refused]
        return self._matching.add(ticket, slate, now_s)

    def first_byte(self, attempt: Attempt, now_s: float) -> list[Decision]:
        """The answer has begun: the client gets this attempt's."""
        attempt.answering = True
        attempt.run.first(now_s)
        worker = attempt.endpoint.worker
        worker.streamed_s = now_s
        decisions = self._end_twin(attempt, OUTRUN, now_s) if attempt.twin is not None else []
        return decisions + self._matching.fill(worker, now_s) if worker.began() else decisions

    def ended(
        self,
        attempt: Attempt,
        ending: Ending,
        now_s: float,
        used: Used | None = None,
        *,
        rest_s: float = 0.0,
    ) -> list[Decision]:
        """An attempt is over: what follows is said in :mod:`router.scheduling.attempts.endings`.

        ``used`` is the worker's count of an answer's tokens. For ``rest_s`` the worker wants to be
        left alone.
        """
        worker = attempt.endpoint.worker
        decisions: list[Decision] = []
        is_released = worker.release(attempt, now_s)
        if is_released:
            if ending.lesson is not NOTHING:
                self._learn(attempt, ending.lesson, used, now_s)
            elif ending.trust is GAINED:
                worker.probes.probed(now_s, 1.0)  # That it lives is no news of its speed.
            if ending.trust is not KEPT:
                decisions += self._judge(attempt, ending.trust, now_s)
            if rest_s > 0:
                worker.rest(now_s + rest_s)
        if attempt.twin is not None and ending.twin is not None:
            decisions += self._end_twin(attempt, ending.twin, now_s)
        elif attempt.is_hedge:
            self._hedge_again(attempt, now_s)
        return decisions + self._matching.fill(worker, now_s) if is_released else decisions

    def withdrawn(self, ticket: Ticket) -> None:
        """The caller of a queued ticket left."""
        self._queue.remove(ticket, served=False)

    def tick(self, now_s: float) -> list[Decision]:
        """Time has passed: waits have shortened, requests have become late, probes are due."""
        late = self._watched.late(now_s)
        decisions: list[Decision] = []
        # First: nothing goes to a worker whose probe has just failed.
        for attempt in late:
            if attempt.is_probe:
                decisions += [Cancel(attempt), *self.ended(attempt, FAILED, now_s)]
        decisions += self._matching.tick(now_s)
        for attempt in late:
            if not attempt.is_probe:
                decisions += self._late(attempt, now_s)
        decisions += self._prober.sweep(self.fleet.workers.values(), now_s)
        return decisions

    def next_tick_s(self, now_s: float) -> float | None:
        """When :meth:`tick` is due without another event; None if never."""
        due_s = min(self._watched.due_s(), self._prober.due_s(now_s))
        if not self._queue.is_empty:
            due_s = min(due_s, now_s + TICK_S)
        return max(due_s, now_s) if due_s < inf else None

    def look(self, now_s: float) -> None:
        """Bring what is known of workers up to now, for a reader: without events nothing else
        does.
        """
        self._matching.look(self.fleet.workers.values(), now_s)

    # Attempts that are over

    def _learn(self, attempt: Attempt, lesson: Lesson, used: Used | None, now_s: float) -> None:
        if lesson is CENSORED:
            return attempt.run.outrun(now_s) if attempt.teaches else None
        if attempt.is_probe:
            return self._learning.probed(attempt, now_s)
        self._learning.answered(attempt, used, now_s)
        shared = attempt.endpoint.service.shared
        if shared.sharing.is_shown and not shared.has_engines:
            self.fleet.slate(attempt.ticket.candidates).mark_shared()
        placement = self._routes.of(attempt.ticket.policy).placement
        placement.completed(attempt.endpoint, now_s - attempt.dispatched_s, now_s)

    def _judge(self, attempt: Attempt, trust: Trust, now_s: float) -> list[Decision]:
        """The worker is trusted more or less for how an attempt ended there."""
        worker = attempt.endpoint.worker
        if trust is GAINED:
            self.fleet.trust_changes += worker.answered()
            return []
        if trust is LOST_IF_SILENT and (attempt.is_hedge or not attempt.met_silence(now_s)):
            return []
        is_doubt = trust is DOUBTED and not attempt.is_probe
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

    def _hedge_again(self, second: Attempt, now_s: float) -> None:
        """A second attempt came to nothing: the first one may get another, at another worker."""
        first, second.twin = second.twin, None
        if first is None:
            return
        first.twin = None
        excluded = first.ticket.excluded | {second.endpoint.worker.id}
        first.ticket = replace(first.ticket, excluded=excluded)
        self._watched.watch(first, now_s, again=True)

    def _late(self, attempt: Attempt, now_s: float) -> list[Decision]:
        """A client's call is late: send it twice if that is wise, otherwise look again later."""
        ticket = attempt.ticket
        if attempt.answering or attempt.twin is not None:
            return []
        route = self._routes.of(ticket.policy)
        slate = self.fleet.slate(ticket.candidates)
        if route.placement.queues and not self._queue:
            self._matching.look(slate.workers, now_s)
            usable = self._yielding.open_to(ticket, slate.usable(ticket.excluded), now_s)
            state = second_place(attempt, usable, now_s)
            if state is not None and route.hedges.withdraw():
                return [self._sender.hedge(attempt, state, now_s)]
        again_s = LATE_AGAIN / LATE * batch_patience_s(ticket, slate.usable(ticket.excluded))
        self._watched.watch(attempt, now_s, again=True, patience_s=again_s)
        return []
