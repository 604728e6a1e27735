"""Round robin: the baseline that everybody has. Blind to speed and load."""

from collections.abc import Sequence

from router.scheduling.decisions import Considered
from router.scheduling.fleet import EndpointState
from router.scheduling.horizon import Horizon
from router.scheduling.ticket import Ticket


class RoundRobin:
    """Endpoints in turn, one turn counter per set of candidates."""

    def __init__(self) -> None:
        self._turns: dict[tuple[str, ...], int] = {}

    def rank(
        self, ticket: Ticket, states: Sequence[EndpointState], horizon: Horizon
    ) -> tuple[Considered, ...]:
        """Score = places until the endpoint's turn."""
        turn = self._turns.get(ticket.candidates, 0)
        self._turns[ticket.candidates] = turn + 1
        count = len(states)
        return tuple(
            Considered(state.endpoint.id, 0.0, 0.0, float((place - turn) % count))
            for place, state in enumerate(states)
        )

    def may_dispatch(self, state: EndpointState) -> bool:
        """Always: the worker queues."""
        return True
