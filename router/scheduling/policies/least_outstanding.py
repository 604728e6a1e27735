"""Least outstanding requests: the common baseline. Ties go to the earlier endpoint."""

from collections.abc import Sequence

from router.scheduling.decisions import Considered
from router.scheduling.fleet import EndpointState
from router.scheduling.horizon import Horizon
from router.scheduling.ticket import Ticket


class LeastOutstanding:
    """The score is the number of requests in flight on the worker."""

    def rank(
        self, ticket: Ticket, states: Sequence[EndpointState], horizon: Horizon
    ) -> tuple[Considered, ...]:
        """Score = requests in flight."""
        return tuple(
            Considered(state.endpoint.id, 0.0, 0.0, float(len(state.worker.inflight)))
            for state in states
        )

    def may_dispatch(self, state: EndpointState) -> bool:
        """Always: the worker queues."""
        return True
