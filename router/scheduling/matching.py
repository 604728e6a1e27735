"""Matches waiting tickets with places at workers.

A pass looks at every waiting ticket in order. It dispatches the ticket or books its place, so that
the tickets behind it see the queue as it will be. Passes are spaced so that they cost a bounded
share of time, however many tickets wait on however many workers. Between two passes an event is
answered from what the last one found:

1. A new ticket is placed behind the booked ones.
2. A free slot goes to the first ticket for which it beats the place that it has booked.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from math import inf

from router.scheduling.attempts.sending import Sender
from router.scheduling.decisions import Decision
from router.scheduling.fleet.fleet import Fleet, Slate, drain_hz
from router.scheduling.fleet.worker import EndpointState, WorkerState
from router.scheduling.fleet.yielding import Yielding
from router.scheduling.routes import Routes
from router.scheduling.scoring import Scoring
from router.scheduling.ticket import Ticket
from router.scheduling.waiting.admission import Admission, nothing_eligible
from router.scheduling.waiting.line import Line
from router.scheduling.waiting.overload import Overload
from router.scheduling.waiting.queue import Queue, QueuedTicket
from router.scheduling.waiting.turn import who_cannot_wait, whose_turn

PASS_SPACING_S = 1.5e-6
"""Time between passes, per waiting ticket and worker; a look costs about a tenth of it."""

AS_GOOD = 1.25
"""How much worse than the best a place with room may be, if several tenants wait."""

NOT_WASTED = 1.8
"""How many times the cheapest place's cost a stream may cost at a place that it takes so as not to
be late. Computing a whole chat again makes other streams late.
"""

ASKED_MAX = 32
"""How many streams that cannot wait are offered a place."""


class Matching:
    """See the module."""

    def __init__(
        self,
        fleet: Fleet,
        queue: Queue,
        admission: Admission,
        routes: Routes,
        scoring: Scoring,
        sender: Sender,
        yielding: Yielding,
    ) -> None:
        self._fleet = fleet
        self._queue = queue
        self._admission = admission
        self._routes = routes
        self._scoring = scoring
        self._sender = sender
        self._yielding = yielding
        self._overload = Overload()
        self._is_waited_for = self._is_overload = False
        self._passed_s = -inf

    def look(self, workers: Iterable[WorkerState], now_s: float) -> None:
        """Bring what is known of these workers up to now."""
        is_waited_for = not self._queue.is_empty
        is_overload = is_waited_for and self._overload.lasts(now_s)
        if self._is_waited_for is not is_waited_for or self._is_overload is not is_overload:
            self._is_waited_for, self._is_overload = is_waited_for, is_overload
            self.tell_workers()
        for worker in workers:
            model = worker.model
            if model.recheck_s <= now_s:
                model.look(now_s)

    def tell_workers(self) -> None:
        """Tell workers whether requests wait here, as of the last look."""
        for worker in self._fleet.workers.values():
            worker.model.waited_for(self._is_waited_for, is_overload=self._is_overload)

    def add(self, ticket: Ticket, slate: Slate, now_s: float) -> list[Decision]:
        """Queue a ticket that may wait."""
        queued = self._queue.add(ticket, slate)
        self._overload.queued(queued)
        return self.run_pass(now_s) if self._may_pass(now_s) else self._place(queued, now_s)

    def tick(self, now_s: float) -> list[Decision]:
        """Time has passed."""
        return self.run_pass(now_s) if self._queue and self._may_pass(now_s) else []

    def _may_pass(self, now_s: float) -> bool:
        looks = len(self._queue) * len(self._fleet.workers)
        return now_s - self._passed_s >= looks * PASS_SPACING_S

    def run_pass(self, now_s: float) -> list[Decision]:
        """Look at every waiting ticket, in order."""
        if not self._queue:
            return []
        self._passed_s = now_s
        workers = self._fleet.workers.values()
        self.look(workers, now_s)
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
        """Whether its slate has no room left, so that no place need be looked up for it.

        The score of a place in line is in seconds, which says nothing of a wish.
        """
        ticket = queued.ticket
        if _is_over(ticket, self._passed_s) or ticket.excluded or ticket.sort is not None:
            return False
        line = lines.get(queued.slate)
        if line is None:
            usable = queued.slate.usable(ticket.excluded)
            rate_hz = drain_hz(usable)
            if not usable or rate_hz == inf:
                return False
            line = lines[queued.slate] = Line(usable, rate_hz, queued)
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
            self._queue.remove(ticket, served=False)
            return [self._admission.given_up(queued, now_s)]
        usable: Sequence[EndpointState] = queued.slate.usable(ticket.excluded)
        if not usable:
            self._queue.remove(ticket, served=False)
            return [nothing_eligible(ticket)]
        route = self._routes.of(ticket.policy)
        decisions: list[Decision] = []
        # What is left free for others is not booked either.
        while queued.is_waiting and (usable := self._yielding.open_to(ticket, usable, now_s)):
            scores = self._scoring.scores(route, ticket, usable, now_s)
            queued.score = lowest = min(scores)
            best = self._choice(ticket, usable, scores, lowest)
            if not best.worker.model.has_room:
                best.worker.model.plan(best.model.service_s(ticket), now_s)
                break
            first = self._first(queued, before, best, now_s)
            if first is not queued:
                route = self._routes.of(first.ticket.policy)
                scores = self._scoring.scores(route, first.ticket, usable, now_s)
            self._queue.remove(first.ticket, now_s)
            decisions.append(self._sender.send(first.ticket, best, usable, scores, now_s))
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
        if queued.ticket.streams:
            return self._urgent(queued, before, state, now_s)
        peers = self._queue.peers(queued.ticket)
        service_s = queued.slate.busy_service_s()
        return whose_turn(queued, peers, state, service_s, now_s)

    def _urgent(
        self,
        queued: QueuedTicket,
        before: Sequence[QueuedTicket],
        state: EndpointState,
        now_s: float,
    ) -> QueuedTicket:
        """The stream of those ``before`` that cannot wait for a better place, or ``queued``."""
        for other in islice(who_cannot_wait(queued, before, state, now_s), ASKED_MAX):
            usable = other.slate.usable(other.ticket.excluded)
            here_s, *all_s = self._scoring.costs_s(other.ticket, [state, *usable])
            if here_s <= NOT_WASTED * min(all_s):
                return other
        return queued

    def _choice(
        self,
        ticket: Ticket,
        usable: Sequence[EndpointState],
        scores: Sequence[float],
        lowest: float,
    ) -> EndpointState:
        """The best place. If several tenants wait, one with room that is nearly as good.

        A place left for a slightly better one goes to the tickets behind, again and again. But the
        nearly cheapest place is not the cheapest, which a ticket may wish for.
        """
        best = usable[scores.index(lowest)]
        if best.worker.model.has_room or ticket.sort is not None or not self._queue.is_shared:
            return best
        with_room = [
            (score, number)
            for number, score in enumerate(scores)
            if score <= AS_GOOD * lowest and usable[number].worker.model.has_room
        ]
        return usable[min(with_room)[1]] if with_room else best

    def fill(self, worker: WorkerState, now_s: float) -> list[Decision]:
        """A slot is free: give it to the first ticket that it suits."""
        if self._queue.is_empty:
            return []
        if self._may_pass(now_s):
            return self.run_pass(now_s)
        worker.model.look(now_s)
        if not worker.model.has_room or worker.ejection.is_ejected:
            return []
        decisions: list[Decision] = []
        tolerance = AS_GOOD if self._queue.is_shared else 1.0
        before: list[QueuedTicket] = []
        closed: set[Slate] = set()
        for queued in self._queue.in_order(now_s):
            state = self._endpoint(queued, worker, closed, now_s)
            if state is None:
                continue
            score = self._suits(queued, state, tolerance, now_s)
            if score is not None:
                is_stream = queued.ticket.streams
                first = self._urgent(queued, before, state, now_s) if is_stream else queued
                if first is not queued:
                    score = self._scoring.score(first.ticket, state, now_s)
                self._queue.remove(first.ticket, now_s)
                decisions.append(self._sender.send(first.ticket, state, (state,), (score,), now_s))
                worker.model.look(now_s)
                if not worker.model.has_room:
                    break
            if queued.ticket.streams:
                before.append(queued)
        return decisions

    def _endpoint(
        self, queued: QueuedTicket, worker: WorkerState, closed: set[Slate], now_s: float
    ) -> EndpointState | None:
        """Where the worker could answer a ticket that may have a slot of it."""
        ticket, slate = queued.ticket, queued.slate
        state = slate.by_worker.get(worker.id)
        if not queued.is_waiting or state is None or worker.id in ticket.excluded:
            return None
        if ticket.yields:
            # What is closed to one call of a batch is closed to the hundreds behind it.
            if slate in closed:
                return None
            if state not in self._yielding.open_to(ticket, slate.usable(ticket.excluded), now_s):
                closed.add(slate)
                return None
        return state

    def _suits(
        self, queued: QueuedTicket, state: EndpointState, tolerance: float, now_s: float
    ) -> float | None:
        """The score of a place that is as good as the best one found for a ticket so far."""
        ticket = queued.ticket
        enough = queued.score * (tolerance if ticket.sort is None else 1.0)
        if queued.is_plain and self._scoring.least_s(ticket, state, now_s) > enough:
            return None  # Most are passed over like this.
        score = self._scoring.score(ticket, state, now_s)
        return score if score <= enough else None


def _is_over(ticket: Ticket, now_s: float) -> bool:
    """Whether waiting makes no sense any more."""
    return now_s >= ticket.expires_s or now_s >= ticket.deadline_s
