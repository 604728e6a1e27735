"""Connects waiting calls with the pure scheduler: calls wait on futures, decisions resolve them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from router.contracts.engines.engine_report import EngineReport
from router.contracts.engines.kv_events import KvEvent
from router.contracts.learned import Learned
from router.contracts.word import Word
from router.domain.catalog import Endpoint
from router.domain.errors import DeadlineExceeded, NothingEligible, QueueFull
from router.pipeline.attempts.probes import Probes
from router.pipeline.attempts.race import Races
from router.ports.upstream import Upstream
from router.scheduling.attempts.endings import NOT_SENT, Ending
from router.scheduling.decisions import (
    Cancel,
    Decision,
    Dispatch,
    Hedge,
    Probe,
    Reject,
    RejectReason,
)
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Ticket, Used
from router.scheduling.waiting.standing import Standing

STANDINGS_S = 0.5
"""How long the standings of those who wait are used before they are looked up again."""


class Dispatcher:
    """Owns this router's scheduler and has its decisions carried out.

    ``clock`` is the event loop's, in monotonic seconds. ``upstreams`` are used to probe workers.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        upstreams: Mapping[str, Upstream],
        *,
        clock: Callable[[], float],
    ) -> None:
        self.scheduler = scheduler
        self.races = Races()
        self._probes = Probes(upstreams)
        self._clock = clock
        self.counts: Counter[type[Decision]] = Counter()
        """Decisions other than dispatches and rejections, by kind."""
        self._waiting: dict[str, asyncio.Future[Dispatch]] = {}
        self._tick_timer: asyncio.Handle | None = None
        self._tick_due_s = inf
        self._standings: dict[str, Standing] = {}
        self._stood_s = -inf

    def remember(self, learned: Learned) -> None:
        """Take over what an earlier process of the router learned of workers."""
        self.scheduler.remember(learned, self._clock())

    def apply(self, endpoints: Iterable[Endpoint]) -> None:
        """The catalog changed."""
        self._apply(self.scheduler.apply(endpoints, self._clock()))

    def lease(self, granted: Mapping[str, int]) -> None:
        """Use the granted number of slots of each worker; workers not named are used whole."""
        self._apply(self.scheduler.lease(granted, self._clock()))

    def word(self) -> Word:
        """What other routers should know of this one."""
        return self.scheduler.word(self._clock())

    def others_said(self, words: Sequence[Word]) -> None:
        """Take in what the other routers said last."""
        self.scheduler.others_said(words, self._clock())

    def reported(self, worker_id: str, report: EngineReport | None) -> None:
        """What an engine says of itself, None if it does not say."""
        self.scheduler.reported(worker_id, report, self._clock())

    def kv_events(self, worker_id: str, events: Sequence[KvEvent] | None) -> None:
        """What an engine says of its KV cache, None if something of that was missed."""
        self.scheduler.kv_events(worker_id, events, self._clock())

    async def place(
        self, ticket: Ticket, waits: Callable[[Standing], None] | None = None
    ) -> Dispatch:
        """Wait for a worker. Raises ``QueueFull``, ``DeadlineExceeded`` or ``NothingEligible``.

        ``waits`` is told where the ticket stands as it comes, if it has to wait.
        """
        now_s = self._clock()
        decisions = self.scheduler.arrive(ticket, now_s)
        if len(decisions) == 1 and _ticket_of(decisions[0]) is ticket:
            self._tick_when_due(now_s)
            return self._dispatched(decisions[0])  # The usual case: no queue, no future.
        future: asyncio.Future[Dispatch] = asyncio.get_running_loop().create_future()
        self._waiting[ticket.id] = future
        self._apply(decisions)
        if waits is not None and not future.done():
            standing = self.scheduler.standing(ticket)
            if standing is not None:
                waits(standing)
        try:
            return await future
        except asyncio.CancelledError:
            self._abandon(ticket, future)
            raise

    def standing(self, call_id: str) -> Standing | None:
        """Where a call stands that waits for a worker; None if it does not wait."""
        if call_id not in self._waiting:
            return None
        now_s = self._clock()
        if now_s - self._stood_s >= STANDINGS_S:
            self._standings = self.scheduler.standings(now_s)
            self._stood_s = now_s
        return self._standings.get(call_id)

    def first_byte(self, attempt: Attempt) -> None:
        """The answer has begun."""
        self._apply_if_any(self.scheduler.first_byte(attempt, self._clock()))

    def ended(
        self,
        attempt: Attempt,
        ending: Ending,
        *,
        used: Used | None = None,
        rest_s: float = 0.0,
    ) -> None:
        """An attempt is over; see :meth:`Scheduler.ended`."""
        self._apply_if_any(
            self.scheduler.ended(attempt, ending, self._clock(), used=used, rest_s=rest_s)
        )

    def _abandon(self, ticket: Ticket, future: asyncio.Future[Dispatch]) -> None:
        self._waiting.pop(ticket.id, None)
        self.scheduler.withdrawn(ticket)
        if future.done() and not future.cancelled() and future.exception() is None:
            self.ended(future.result().attempt, NOT_SENT)

    def _apply_if_any(self, decisions: Sequence[Decision]) -> None:
        """If nothing has changed, nothing is due earlier."""
        if decisions:
            self._apply(decisions)

    def _apply(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Dispatch | Reject):
                self._answer(decision)
                continue
            self.counts[type(decision)] += 1
            if isinstance(decision, Hedge):
                if not self.races.hedge(decision.attempt, decision.of):
                    self.ended(decision.attempt, NOT_SENT)
            elif isinstance(decision, Probe):
                self._probes.begin(decision.attempt, self.ended)
            elif isinstance(decision, Cancel):
                self.races.stop(decision.attempt)
                self._probes.stop(decision.attempt)
        self._tick_when_due(self._clock())

    def _answer(self, decision: Dispatch | Reject) -> None:
        ticket = _ticket_of(decision)
        future = self._waiting.pop(ticket.id, None) if ticket is not None else None
        if future is None or future.done():
            if isinstance(decision, Dispatch):
                self.ended(decision.attempt, NOT_SENT)  # Its task has yet to say that it is over.
            return
        try:
            future.set_result(self._dispatched(decision))
        except (QueueFull, DeadlineExceeded, NothingEligible) as error:
            future.set_exception(error)

    def _dispatched(self, decision: Decision) -> Dispatch:
        """The dispatch, or raise the error of a rejection."""
        if isinstance(decision, Dispatch):
            return decision
        if not isinstance(decision, Reject):
            raise TypeError(f"{decision!r} answers nobody")
        retry_after_s = decision.retry_after_s
        again = f"try again in {retry_after_s:.1f} s"
        if decision.reason is RejectReason.NOTHING_ELIGIBLE:
            raise NothingEligible(
                "no worker is available now, try again", retry_after_s=retry_after_s
            )
        if decision.reason is RejectReason.DEADLINE and self._is_over(decision.ticket):
            raise DeadlineExceeded(
                "the request's deadline passed before a worker had room; raise deadline_ms or "
                + again,
                param="deadline_ms",
                retry_after_s=retry_after_s,
            )
        if decision.reason is RejectReason.DEADLINE:
            raise QueueFull(
                f"the answer would come too late for this request's deadline, {again}",
                retry_after_s=retry_after_s,
            )
        waited = "too long" if decision.reason is RejectReason.EXPIRED else "full"
        raise QueueFull(
            f"the queue for this model is {waited}, {again}", retry_after_s=retry_after_s
        )

    def _is_over(self, ticket: Ticket) -> bool:
        return self._clock() >= ticket.deadline_s

    def _tick_when_due(self, now_s: float) -> None:
        due_s = self.scheduler.next_tick_s(now_s)
        if due_s is not None and due_s < self._tick_due_s:
            if self._tick_timer is not None:
                self._tick_timer.cancel()
            self._tick_due_s = due_s
            self._tick_timer = asyncio.get_running_loop().call_at(due_s, self._tick)

    def _tick(self) -> None:
        self._tick_timer = None
        self._tick_due_s = inf
        self._apply(self.scheduler.tick(self._clock()))


def _ticket_of(decision: Decision) -> Ticket | None:
    if isinstance(decision, Dispatch):
        return decision.attempt.ticket
    if isinstance(decision, Reject):
        return decision.ticket
    return None
