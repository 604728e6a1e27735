"""What the scheduler tells its caller to do, with reasons. The caller does it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from msgspec import Struct

from router.scheduling.fleet import Attempt, EndpointState
from router.scheduling.ticket import Ticket


class Considered(Struct, frozen=True, gc=False):
    """One endpoint as it looked when the decision was made. Seconds; the lowest score wins."""

    endpoint_id: str
    wait_s: float
    service_s: float
    score: float


class Ranking(Struct, frozen=True, gc=False):
    """What was considered, one column a figure: made for every call and read for few.

    ``planned_s`` is absolute and ``unit_s`` seconds a unit of work. Three columns of a dozen take
    1.5 µs where as many :class:`Considered` take 6.
    """

    states: Sequence[EndpointState] = ()
    planned_s: Sequence[float] = ()
    unit_s: Sequence[float] = ()
    scores: Sequence[float] = ()
    work: float = 1.0
    now_s: float = 0.0

    def __iter__(self) -> Iterator[Considered]:
        return (Considered(*row) for row in self.rows())

    def rows(self) -> list[tuple[str, float, float, float]]:
        """The fields of each :class:`Considered`."""
        now_s, work = self.now_s, self.work
        columns = zip(self.states, self.planned_s, self.unit_s, self.scores, strict=True)
        return [
            (state.id, planned_s - now_s if planned_s > now_s else 0.0, unit_s * work, score)
            for state, planned_s, unit_s, score in columns
        ]

    def score_of(self, endpoint_id: str) -> float | None:
        """None for an endpoint that was not considered."""
        ids = [state.id for state in self.states]
        return self.scores[ids.index(endpoint_id)] if endpoint_id in ids else None


NOT_EXPLAINED = Ranking()


class RejectReason(StrEnum):
    """Why a ticket was turned away."""

    QUEUE_FULL = "queue_full"
    EXPIRED = "expired"
    NOTHING_ELIGIBLE = "nothing_eligible"
    DEADLINE = "deadline"
    """It would have been answered too late, so it was told at once."""


class Dispatch(Struct, frozen=True, gc=False):
    """Send the attempt's ticket to its endpoint now."""

    attempt: Attempt
    considered: Ranking


class Hedge(Struct, frozen=True, gc=False):
    """Send the ticket of ``of``, which is late, to a second endpoint too."""

    attempt: Attempt
    of: Attempt


class Probe(Struct, frozen=True, gc=False):
    """Send a tiny request of your own to the attempt's endpoint."""

    attempt: Attempt


class Cancel(Struct, frozen=True, gc=False):
    """Stop this attempt at its worker: it lost its race. Its slot is free already."""

    attempt: Attempt


class Reject(Struct, frozen=True, gc=False):
    """Turn the ticket away. ``retry_after_s`` is when it would probably be served."""

    ticket: Ticket
    reason: RejectReason
    retry_after_s: float


class Eject(Struct, frozen=True, gc=False):
    """For the record: a worker gets nothing until ``until_s``, and then probes."""

    worker_id: str
    until_s: float


Decision = Dispatch | Hedge | Probe | Cancel | Reject | Eject
