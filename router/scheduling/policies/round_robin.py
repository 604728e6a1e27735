"""Round robin: the most common baseline. It sees neither speed nor load."""

from collections.abc import Callable, Sequence

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline
from router.scheduling.ticket import Ticket


class RoundRobin(Baseline):
    """Endpoints in turn."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        super().__init__(policy, random)
        self._turn = 0

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """How many places until the endpoint's turn."""
        count = len(states)
        turn = self._turn % count
        self._turn += 1
        return [float((place - turn) % count) for place in range(count)]
