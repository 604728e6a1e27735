"""Least outstanding requests by capacity (Linux virtual server's ``wlc``).

The weight of an endpoint is its estimated capacity: slots per second of service.
"""

from collections.abc import Sequence

from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, capacity, outstanding
from router.scheduling.ticket import Ticket


class WeightedLeastOutstanding(Baseline):
    """See the module."""

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """Requests in flight, this one included, over capacity."""
        return [(outstanding(state) + 1) / capacity(state, self.policy) for state in states]
