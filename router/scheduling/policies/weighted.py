"""Weighted round robin by capacity, spread smoothly as in nginx.

Every turn each endpoint gains its weight. The highest total wins and pays the sum of all weights.
The weight is the estimated capacity: slots per second of service.
"""

from collections.abc import Callable, Sequence

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, capacity
from router.scheduling.ticket import Ticket


class Weighted(Baseline):
    """See the module."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        super().__init__(policy, random)
        self._totals: dict[str, float] = {}

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """Minus the total that an endpoint has gathered."""
        totals = self._totals
        sum_ = 0.0
        for state in states:
            weight = capacity(state, self.policy)
            totals[state.id] = totals.get(state.id, 0.0) + weight
            sum_ += weight
        scores = [-totals[state.id] for state in states]
        winner = states[scores.index(min(scores))]
        totals[winner.id] -= sum_
        return scores
