"""Least outstanding requests: the common baseline (nginx ``least_conn``)."""

from collections.abc import Sequence

from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, outstanding
from router.scheduling.ticket import Ticket


class LeastOutstanding(Baseline):
    """Blind to speed. Ties are broken at random, so that equals share the load."""

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """Requests in flight."""
        return [outstanding(state) + self.random() / 2 for state in states]
