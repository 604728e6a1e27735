"""The better of two random endpoints (Mitzenmacher 1996), by requests in flight."""

from collections.abc import Sequence

from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, only, outstanding, two_of
from router.scheduling.ticket import Ticket


class PowerOfTwo(Baseline):
    """See the module."""

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """The winner has 0, the others infinity."""
        first, second = two_of(states, self.random)
        better = outstanding(states[second]) < outstanding(states[first])
        return only(second if better else first, len(states))
