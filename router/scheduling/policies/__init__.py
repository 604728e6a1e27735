"""Placement policies behind one small interface, one file each. Each route chooses its policy.

The baselines are what people use today, kept for comparison and for those who need them.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.policies.c3 import C3
from router.scheduling.policies.late_binding import LateBinding
from router.scheduling.policies.least_latency import LeastLatency
from router.scheduling.policies.least_outstanding import LeastOutstanding
from router.scheduling.policies.peak_ewma import PeakEwma
from router.scheduling.policies.power_of_two import PowerOfTwo
from router.scheduling.policies.prequal import Prequal
from router.scheduling.policies.round_robin import RoundRobin
from router.scheduling.policies.weighted import Weighted
from router.scheduling.policies.weighted_least_outstanding import WeightedLeastOutstanding
from router.scheduling.ticket import Ticket


class Placement(Protocol):
    """Says where a ticket would go. One instance serves one route.

    A policy that ``queues`` scores in seconds, and tickets wait in the router until the winner has
    room. Other policies send at once and leave the waiting to the worker.
    """

    queues: bool

    def score(
        self, ticket: Ticket, states: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """A score for every state, in the same order; the lowest wins, the earlier one on a tie."""
        ...

    def completed(self, state: EndpointState, latency_s: float, now_s: float) -> None:
        """A request ended well, ``latency_s`` seconds after it was sent."""
        ...


Random = Callable[[], float]
"""Uniform over [0, 1)."""

DEFAULT = LateBinding

POLICIES: dict[str, Callable[[Policy, Random], Placement]] = {
    "late_binding": LateBinding,
    "round_robin": RoundRobin,
    "weighted": Weighted,
    "least_outstanding": LeastOutstanding,
    "weighted_least_outstanding": WeightedLeastOutstanding,
    "power_of_two": PowerOfTwo,
    "peak_ewma": PeakEwma,
    "prequal": Prequal,
    "c3": C3,
    "least_latency": LeastLatency,
}
