"""Expected completion with late binding: the default.

A ticket goes where it is expected to *complete* first, and stays in the router until that place
has room. Waiting counts ``WAIT_WEIGHT`` times: a ticket that waits for a fast worker also delays
everybody behind it, which a selfish score (weight 1) does not see. One request beyond the limit is
allowed, so that a worker never idles for a round trip.
"""

from collections.abc import Sequence

from router.scheduling.decisions import Considered
from router.scheduling.fleet import EndpointState
from router.scheduling.horizon import Horizon
from router.scheduling.ticket import Ticket

WAIT_WEIGHT = 5.0
OVERCOMMIT_CREDIT = 1


class LateBinding:
    """See the module."""

    def rank(
        self, ticket: Ticket, states: Sequence[EndpointState], horizon: Horizon
    ) -> tuple[Considered, ...]:
        """Score = ``WAIT_WEIGHT`` x expected wait + expected service, in seconds."""
        work = ticket.work
        considered: list[Considered] = []
        for state in states:
            wait = horizon.wait_s(state.worker)
            service = horizon.service_s(state, work)
            considered.append(
                Considered(state.endpoint.id, wait, service, WAIT_WEIGHT * wait + service)
            )
        return tuple(considered)

    def may_dispatch(self, state: EndpointState) -> bool:
        """A free slot, or the credit."""
        return state.worker.free_slots > -OVERCOMMIT_CREDIT
