"""C3: adaptive replica selection (Suresh et al., NSDI 2015).

Score = R − 1/μ + q³/μ, with R the smoothed latency, 1/μ the smoothed service time and q the
expected queue. The cube keeps clients from flocking to a fast worker with a long queue. With one
router, its own requests in flight are the queue (no concurrency compensation is needed).
"""

from collections.abc import Callable, Sequence

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, outstanding, slots
from router.scheduling.ticket import Ticket

SMOOTHING = 0.1


class C3(Baseline):
    """See the module."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        super().__init__(policy, random)
        self._latency_s: dict[str, float] = {}

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """Seconds, the cubed queue weighing in."""
        scores: list[float] = []
        for state in states:
            service_s = state.estimate.seconds / slots(state)
            latency_s = self._latency_s.get(state.id, 0.0)
            queue = 1 + outstanding(state)
            scores.append(latency_s - service_s + queue**3 * service_s)
        return scores

    def completed(self, state: EndpointState, latency_s: float, now_s: float) -> None:
        """Smooth the latency."""
        known_s = self._latency_s.get(state.id, latency_s)
        self._latency_s[state.id] = known_s + SMOOTHING * (latency_s - known_s)
