"""The state machine: a queue in front of a fleet, and policies that match the two.

Every event returns the decisions it caused, in order. A ticket is answered exactly once, by a
:class:`Dispatch` or a :class:`Reject`, unless its caller cancels it first; an attempt holds its
slot until ``completed``, ``failed`` or ``cancelled``.
"""

from collections.abc import Iterable

from router.domain.catalog import Endpoint
from router.scheduling.decisions import Decision, Dispatch, Eject, Reject, RejectReason
from router.scheduling.fleet import Attempt, EndpointState, Fleet
from router.scheduling.horizon import Horizon
from router.scheduling.policies import DEFAULT_POLICY, POLICIES, Policy
from router.scheduling.ranking import Ranking
from router.scheduling.ticket import Ticket


class Scheduler:
    """See the module. ``queue_max`` bounds how many tickets may wait."""

    def __init__(self, *, queue_max: int) -> None:
        self.fleet = Fleet()
        self._queue_max = queue_max
        self._queue: dict[str, Ticket] = {}
        self._policies: dict[str, Policy] = {}
        self._attempts_made = 0

    @property
    def waiting(self) -> int:
        """How many tickets are queued."""
        return len(self._queue)

    def apply(self, endpoints: Iterable[Endpoint], now_s: float) -> list[Decision]:
        """The catalog changed: use these endpoints from now on."""
        self.fleet.apply(endpoints)
        return self._schedule(now_s)

    def arrive(self, ticket: Ticket, now_s: float) -> list[Decision]:
        """A request wants a worker."""
        if not self._eligible(ticket, now_s):
            return [Reject(ticket, RejectReason.NOTHING_ELIGIBLE, 1.0)]
        if not self._queue:
            decision = self._place(ticket, Horizon(now_s))
            if decision is not None:
                return [decision]
        elif len(self._queue) >= self._queue_max:
            return [Reject(ticket, RejectReason.QUEUE_FULL, self._drain_s(ticket, now_s))]
        self._queue[ticket.id] = ticket
        return self._schedule(now_s) if len(self._queue) > 1 else []

    def completed(self, attempt: Attempt, now_s: float) -> list[Decision]:
        """The last token came: learn from it and use the slot."""
        worker = attempt.endpoint.worker
        if not worker.release(attempt, now_s):
            return []
        worker.ejection.succeeded()
        attempt.endpoint.estimate.observe(now_s - attempt.started_s, attempt.ticket.work)
        return self._schedule(now_s)

    def failed(self, attempt: Attempt, now_s: float) -> list[Decision]:
        """The worker did not do its part; enough of that takes it out for a while."""
        worker = attempt.endpoint.worker
        if not worker.release(attempt, now_s):
            return []
        decisions: list[Decision] = []
        if worker.ejection.failed(now_s):
            decisions.append(Eject(worker.id, worker.ejection.until_s))
        return decisions + self._schedule(now_s)

    def cancelled(self, attempt: Attempt, now_s: float) -> list[Decision]:
        """The caller went away or the request was refused: the slot returns, nothing is learned."""
        if not attempt.endpoint.worker.release(attempt, now_s):
            return []
        return self._schedule(now_s)

    def withdrawn(self, ticket: Ticket) -> None:
        """The caller of a queued ticket went away."""
        self._queue.pop(ticket.id, None)

    def tick(self, now_s: float) -> list[Decision]:
        """Time passed: waits have shortened, circuits may have half-opened, tickets expired."""
        return self._schedule(now_s) if self._queue else []

    def _schedule(self, now_s: float) -> list[Decision]:
        """One pass over the whole queue, oldest first, against one horizon."""
        if not self._queue:
            return []
        decisions: list[Decision] = []
        horizon = Horizon(now_s)
        rankings: dict[tuple[object, ...], Ranking] = {}
        for ticket in list(self._queue.values()):
            if now_s >= ticket.expires_s:
                retry_after_s = self._drain_s(ticket, now_s)
                decision: Decision | None = Reject(ticket, RejectReason.EXPIRED, retry_after_s)
            else:
                alike = (ticket.candidates, ticket.policy, ticket.work, ticket.excluded)
                ranking = rankings.get(alike)
                if ranking is None:
                    ranking = rankings[alike] = self._rank(ticket, horizon)
                decision = self._place_in_turn(ticket, ranking, rankings, horizon)
            if decision is not None:
                del self._queue[ticket.id]
                decisions.append(decision)
        return decisions

    def _place_in_turn(
        self,
        ticket: Ticket,
        ranking: Ranking,
        rankings: dict[tuple[object, ...], Ranking],
        horizon: Horizon,
    ) -> Decision | None:
        """Dispatch a queued ticket, or reserve its place so that those behind it see it."""
        if not ranking.states:
            return Reject(ticket, RejectReason.NOTHING_ELIGIBLE, 1.0)
        if not ranking.has_room:
            return None  # Nobody like it can be dispatched any more, so nobody needs to see it.
        place = ranking.best()
        worker = ranking.states[place].worker
        service_s = ranking.considered[place].service_s
        dispatch = self._dispatch(ticket, ranking, horizon)
        if dispatch is None:
            horizon.reserve(worker, service_s)
        else:
            horizon.dispatched(worker, service_s)
        for other in rankings.values():
            other.worker_changed(worker, horizon)
        return dispatch

    def _place(self, ticket: Ticket, horizon: Horizon) -> Decision | None:
        """Dispatch a ticket that nobody is ahead of, to where it completes first; None to queue."""
        ranking = self._rank(ticket, horizon)
        return self._dispatch(ticket, ranking, horizon)

    def _rank(self, ticket: Ticket, horizon: Horizon) -> Ranking:
        states = self._eligible(ticket, horizon.now_s)
        return Ranking(ticket, states, self._policy(ticket.policy), horizon)

    def _dispatch(self, ticket: Ticket, ranking: Ranking, horizon: Horizon) -> Dispatch | None:
        """To the winner, if it takes the ticket now."""
        state = ranking.states[ranking.best()]
        if not self._policy(ticket.policy).may_dispatch(state):
            return None
        self._attempts_made += 1
        attempt = Attempt(self._attempts_made, ticket, state, horizon.now_s)
        state.worker.inflight[attempt.id] = attempt
        return Dispatch(attempt, tuple(ranking.considered))

    def _eligible(self, ticket: Ticket, now_s: float) -> list[EndpointState]:
        """Candidates that may be used now: trusted ones, else ones to try out, else any left."""
        endpoints = self.fleet.endpoints
        known = [
            state
            for endpoint_id in ticket.candidates
            if (state := endpoints.get(endpoint_id)) is not None
            and state.worker.id not in ticket.excluded
        ]
        usable = [
            state
            for state in known
            if not (ejection := state.worker.ejection).consecutive_failures
            or not (
                ejection.is_open(now_s) or (ejection.is_half_open(now_s) and state.worker.inflight)
            )
        ]
        # With every circuit open, a try that may fail beats a refusal that certainly does.
        return usable or known

    def _policy(self, name: str) -> Policy:
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policies[name] = POLICIES.get(name, POLICIES[DEFAULT_POLICY])()
        return policy

    def _drain_s(self, ticket: Ticket, now_s: float) -> float:
        """Expected seconds until the queue ahead has gone through the ticket's candidates."""
        rate = sum(
            state.worker.slots / state.estimate.seconds for state in self._eligible(ticket, now_s)
        )
        return len(self._queue) / rate if rate else 1.0
