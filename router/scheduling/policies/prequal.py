"""Prequal: probing to reduce queuing and latency (Wydrowski et al., NSDI 2024).

A few endpoints are sampled. Those with more requests in flight than the ``HOT_QUANTILE`` of all are
hot. The cold one with the lowest latency wins; if all are hot, the one with the fewest in flight.
Requests in flight are this router's own, and so is latency: the median of recent ones, scaled to
what is in flight now. They replace the paper's probes where one router sees all traffic.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, outstanding, slots
from router.scheduling.ticket import Ticket

HOT_QUANTILE = 0.84
SAMPLED = 16
RECENT = 15


class Prequal(Baseline):
    """See the module."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        super().__init__(policy, random)
        self._recent: dict[str, deque[float]] = {}

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """Latency for cold ones. Hot ones score higher, by requests in flight. Not sampled: inf."""
        count = len(states)
        sampled = {int(self.random() * count) for _ in range(SAMPLED)}
        flights = sorted(outstanding(states[place]) for place in sampled)
        hot_above = flights[int(HOT_QUANTILE * (len(flights) - 1))]
        scores = [inf] * count
        for place in sampled:
            flight = outstanding(states[place])
            is_hot = flight > hot_above
            scores[place] = 1e9 + flight if is_hot else self._latency_s(states[place])
        return scores

    def completed(self, state: EndpointState, latency_s: float, now_s: float) -> None:
        """Keep the last few latencies of each endpoint, per request in flight."""
        recent = self._recent.setdefault(state.id, deque(maxlen=RECENT))
        recent.append(latency_s / _rounds(state))

    def _latency_s(self, state: EndpointState) -> float:
        recent = self._recent.get(state.id)
        return sorted(recent)[len(recent) // 2] * _rounds(state) if recent else 0.0


def _rounds(state: EndpointState) -> float:
    """How many rounds of its slots the endpoint needs for its requests and one more."""
    return max(1.0, (outstanding(state) + 1) / slots(state))
