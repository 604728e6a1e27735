"""Peak-sensitive moving average of latency, power of two choices (Finagle, linkerd).

Load is latency times requests in flight. The average jumps to a peak at once and decays over
``DECAY_S``, so that a worker that turned slow is left at once and forgiven gradually.
"""

from collections.abc import Callable, Sequence
from math import exp

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.baseline import Baseline, only, outstanding, two_of
from router.scheduling.ticket import Ticket

DECAY_S = 10.0


class PeakEwma(Baseline):
    """See the module."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        super().__init__(policy, random)
        self._peaks: dict[str, tuple[float, float]] = {}

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """The winner has 0, the others infinity."""
        first, second = two_of(states, self.random)
        better = self._load(states[second], now_s) < self._load(states[first], now_s)
        return only(second if better else first, len(states))

    def completed(self, state: EndpointState, latency_s: float, now_s: float) -> None:
        """A peak counts in full; other latencies by the time since the last one."""
        average_s = self._average_s(state, now_s, latency_s)
        self._peaks[state.id] = (max(latency_s, average_s), now_s)

    def _average_s(self, state: EndpointState, now_s: float, towards_s: float) -> float:
        known = self._peaks.get(state.id)
        if known is None:
            return towards_s
        average_s, seen_s = known
        kept = exp(-(now_s - seen_s) / DECAY_S)
        return average_s * kept + towards_s * (1 - kept)

    def _load(self, state: EndpointState, now_s: float) -> float:
        return self._average_s(state, now_s, 0.0) * (outstanding(state) + 1)
