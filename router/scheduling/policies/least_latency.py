"""The lowest recent average latency, with a random choice among the nearly best.

LiteLLM's ``latency-based-routing`` picks like this: the mean of the last ``RECENT`` latencies, and
any endpoint within ``BUFFER`` of the best. It does not see what is in flight.
"""

from collections import deque
from collections.abc import Callable, Sequence

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, only
from router.scheduling.ticket import Ticket

RECENT = 10
BUFFER = 0.5


class LeastLatency(Baseline):
    """See the module."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        super().__init__(policy, random)
        self._recent: dict[str, deque[float]] = {}

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """The winner has 0, the others infinity. Unmeasured endpoints are tried first."""
        means = [self._mean_s(state) for state in states]
        nearly = (1 + BUFFER) * min(means)
        good = [place for place, mean_s in enumerate(means) if mean_s <= nearly]
        return only(good[int(self.random() * len(good))], len(states))

    def completed(self, state: EndpointState, latency_s: float, now_s: float) -> None:
        """Keep the last few latencies of each endpoint."""
        self._recent.setdefault(state.id, deque(maxlen=RECENT)).append(latency_s)

    def _mean_s(self, state: EndpointState) -> float:
        recent = self._recent.get(state.id)
        return sum(recent) / len(recent) if recent else 0.0
