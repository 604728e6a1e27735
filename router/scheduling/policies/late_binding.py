"""Expected completion with late binding: the default.

A ticket goes where it is expected to *complete* first, and stays in the router until that place
has room: a list schedule (Graham 1966) on different machines, recomputed at every event. Waiting
counts ``wait_weight`` times, because a ticket that waits for a fast worker also delays all tickets
behind it; a selfish score (weight 1) does not see that. Waiting counts less for large work: what a
long request loses on a slow worker outweighs the delay that it causes.
"""

from collections.abc import Callable, Sequence
from math import inf

from router.domain.catalog import Policy
from router.domain.request import Sort
from router.scheduling.fleet.worker import EndpointState, costs_s
from router.scheduling.ticket import Ticket

PREFERENCE_S = 10.0
"""The cost of missing a preferred latency: more than any ordinary wait."""

TOO_LATE = 1e12
"""Added to the score of a place that would miss the deadline: worse than any that would not."""


class LateBinding:
    """See the module."""

    queues = True

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._weights = policy.weights

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """Seconds: ``wait_weight`` x expected wait + expected service + those for money and wishes.

        A ticket with its own wish (``sort``) is placed by that wish among the endpoints that
        meet its deadline, and by expected completion among the others.
        """
        if ticket.sort is not None:
            return [_wished(ticket, ticket.sort, state, now_s) for state in states]
        scores = costs_s(ticket, states)
        weight = wait_weight(ticket)
        for place, state in enumerate(states):
            if (planned_s := state.worker.model.planned_s) > now_s:
                scores[place] += weight * (planned_s - now_s)
        if self._weights:
            for place, state in enumerate(states):
                weight = self._weights.get(state.endpoint.deployment.id, 1.0)
                scores[place] += (1 / weight - 1) * state.service_s(ticket)
        if ticket.preferred_s < inf:
            scores = [
                score + PREFERENCE_S * (_latency_s(ticket, state, now_s) > ticket.preferred_s)
                for score, state in zip(scores, states, strict=True)
            ]
        if ticket.penalty_s:
            penalty_s = ticket.penalty_s
            for place, state in enumerate(states):
                scores[place] += penalty_s.get(state.id, 0.0)
        return scores

    def completed(self, state: EndpointState, latency_s: float, now_s: float) -> None:
        """The scheduler keeps the estimates."""


def wait_weight(ticket: Ticket) -> float:
    """How many seconds a second of its wait counts for."""
    return ticket.policy.wait_weight / max(1.0, ticket.work)


def _latency_s(ticket: Ticket, state: EndpointState, now_s: float) -> float:
    return max(state.worker.model.planned_s - now_s, 0.0) + state.service_s(ticket)


def _wished(ticket: Ticket, sort: Sort, state: EndpointState, now_s: float) -> float:
    latency_s = _latency_s(ticket, state, now_s)
    begins_s = max(state.worker.model.planned_s, now_s)
    lateness_s = max(now_s + latency_s - ticket.deadline_s, begins_s - ticket.expires_s)
    if lateness_s > 0:
        return TOO_LATE + lateness_s
    latency_s += ticket.penalty_s.get(state.id, 0.0)
    if sort is Sort.PRICE:
        # Nano-USD are whole numbers, so latency only decides between equal costs.
        return ticket.cost_nano.get(state.id, inf) + min(latency_s / 1e3, 0.5)
    if sort is Sort.THROUGHPUT:
        return state.service_s(ticket)
    return latency_s
