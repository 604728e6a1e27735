"""How the endpoints look to tickets that are alike, kept up to date during one scheduling pass.

Waiting tickets of a model mostly differ in nothing that matters here. They share one ranking: a
placement or a reservation changes the score of one worker only, so a ticket costs one look for the
minimum instead of scoring the whole fleet again, and nothing at all once no worker has room.
"""

from collections.abc import Sequence

from router.scheduling.fleet import EndpointState, WorkerState
from router.scheduling.horizon import Horizon
from router.scheduling.policies import Policy
from router.scheduling.ticket import Ticket


class Ranking:
    """Scores of ``states`` for tickets like ``ticket``, in the same order; the lowest wins."""

    __slots__ = (
        "_open",
        "_places",
        "_policy",
        "_room",
        "_scores",
        "_ticket",
        "considered",
        "states",
    )

    def __init__(
        self, ticket: Ticket, states: Sequence[EndpointState], policy: Policy, horizon: Horizon
    ) -> None:
        self.states = states
        self.considered = list(policy.rank(ticket, states, horizon))
        self._scores = [one.score for one in self.considered]
        self._ticket = ticket
        self._policy = policy
        self._places: dict[str, list[int]] | None = None
        self._open = [policy.may_dispatch(state) for state in states]
        self._room = sum(self._open)

    @property
    def has_room(self) -> bool:
        """Whether any of the endpoints would take a ticket now."""
        return self._room > 0

    def best(self) -> int:
        """The place of the winner; ties go to the earlier endpoint."""
        return self._scores.index(min(self._scores))

    def worker_changed(self, worker: WorkerState, horizon: Horizon) -> None:
        """Score the worker's endpoints again, after a dispatch or a reservation there."""
        if self._places is None:  # Most rankings place one ticket and never get here.
            self._places = {}
            for place, state in enumerate(self.states):
                self._places.setdefault(state.worker.id, []).append(place)
        places = self._places.get(worker.id, [])
        changed = self._policy.rank(self._ticket, [self.states[i] for i in places], horizon)
        for place, one in zip(places, changed, strict=True):
            self.considered[place] = one
            self._scores[place] = one.score
            is_open = self._policy.may_dispatch(self.states[place])
            self._room += is_open - self._open[place]
            self._open[place] = is_open
