"""What the baselines share: they send at once, and by default learn nothing."""

from collections.abc import Callable, Sequence
from math import inf

from router.domain.catalog import Policy
from router.scheduling.fleet.worker import EndpointState


class Baseline:
    """A policy that leaves the waiting to the workers."""

    queues = False

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self.policy = policy
        self.random = random

    def completed(self, state: EndpointState, latency_s: float, now_s: float) -> None:
        """Nothing to learn."""


def capacity(state: EndpointState, policy: Policy) -> float:
    """The expected requests of one unit a second that the endpoint serves under a policy."""
    weight = policy.weights.get(state.endpoint.deployment.id, 1.0)
    return weight * slots(state) / state.estimate.seconds


def slots(state: EndpointState) -> int:
    """The slots of the endpoint's worker, counted as one where this router leases none: it is sent
    requests only where no other endpoint has any.
    """
    return max(state.worker.slots, 1)


def outstanding(state: EndpointState) -> int:
    """Requests that this router has on the endpoint's worker."""
    return len(state.worker.inflight)


def only(chosen: int, count: int) -> list[float]:
    """Scores with which ``chosen`` wins."""
    scores = [inf] * count
    scores[chosen] = 0.0
    return scores


def two_of(states: Sequence[EndpointState], random: Callable[[], float]) -> tuple[int, int]:
    """Two different random places (the same one twice if there is only one)."""
    count = len(states)
    first = int(random() * count)
    second = int(random() * (count - 1)) if count > 1 else first
    return first, second + 1 if count > 1 and second >= first else second
