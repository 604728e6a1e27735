"""Placement policies behind one small interface, one file each. A policy is chosen per route."""

from collections.abc import Callable, Sequence
from typing import Protocol

from router.scheduling.decisions import Considered
from router.scheduling.fleet import EndpointState
from router.scheduling.horizon import Horizon
from router.scheduling.policies.late_binding import LateBinding
from router.scheduling.policies.least_outstanding import LeastOutstanding
from router.scheduling.policies.round_robin import RoundRobin
from router.scheduling.ticket import Ticket

DEFAULT_POLICY = "late_binding"


class Policy(Protocol):
    """Says where a ticket would go, and whether it may go there now."""

    def rank(
        self, ticket: Ticket, states: Sequence[EndpointState], horizon: Horizon
    ) -> tuple[Considered, ...]:
        """Score every state, in the same order; the lowest score wins."""
        ...

    def may_dispatch(self, state: EndpointState) -> bool:
        """Whether the winner takes the ticket now; if not, the ticket stays queued for it."""
        ...


POLICIES: dict[str, Callable[[], Policy]] = {
    "late_binding": LateBinding,
    "least_outstanding": LeastOutstanding,
    "round_robin": RoundRobin,
}
