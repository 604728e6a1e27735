"""What the scheduler tells its caller to do, with reasons. The caller does it."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from math import inf

from msgspec import Struct

from router.scheduling.caches.affinity import NOTHING_CACHED, cached_tokens
from router.scheduling.fleet.worker import Attempt, EndpointState
from router.scheduling.ticket import NO_TERMS, Ticket
from router.scheduling.worker_models.costs import Costs, Terms


class Considered(Struct, frozen=True, gc=False):
    """One endpoint as it looked at the moment of the decision. Seconds; the lowest score wins.

    ``terms`` are set for a generation on an engine; then ``service_s`` allows for the cached part
    of its prompt.
    """

    endpoint_id: str
    wait_s: float
    service_s: float
    score: float
    terms: Terms | None


class Ranking(Struct, frozen=True, gc=False):
    """The endpoints considered, one column per figure: made for every call and read for few.

    ``planned_s`` is an absolute time. ``paces`` are seconds per unit of ``work``, or the costs of a
    generation on an engine at that moment. ``cached`` says how many blocks of the prompt an
    endpoint should have, of ``block_tokens`` each. ``penalty_s`` is what price, order and
    preferences add to the scores, beside a fixed penalty for what is expected to take longer than
    ``preferred_s``. Three columns of a dozen take 1.5 µs; a dozen
    :class:`Considered` take 6.
    """

    states: Sequence[EndpointState] = ()
    planned_s: Sequence[float] = ()
    paces: Sequence[float | Costs] = ()
    scores: Sequence[float] = ()
    now_s: float = 0.0
    work: float = 1.0
    prompt_tokens: float = 0.0
    answer_tokens: float = 0.0
    block_tokens: float = 0.0
    cached: Mapping[str, int] = NOTHING_CACHED
    penalty_s: Mapping[str, float] = NO_TERMS
    preferred_s: float = inf

    def __iter__(self) -> Iterator[Considered]:
        return (Considered(*row) for row in self.rows())

    def rows(self) -> list[tuple[str, float, float, float, Terms | None]]:
        """The fields of each :class:`Considered`."""
        now_s, work = self.now_s, self.work
        columns = zip(self.states, self.planned_s, self.paces, self.scores, strict=True)
        rows: list[tuple[str, float, float, float, Terms | None]] = []
        for state, planned_s, pace, score in columns:
            wait_s = planned_s - now_s if planned_s > now_s else 0.0
            if isinstance(pace, Costs):
                terms = self._terms(pace, state.id)
                rows.append((state.id, wait_s, terms.own_s, score, terms))
            else:
                rows.append((state.id, wait_s, pace * work, score, None))
        return rows

    def _terms(self, costs: Costs, endpoint_id: str) -> Terms:
        blocks = self.cached.get(endpoint_id, 0)
        cached = cached_tokens(blocks, self.block_tokens, self.prompt_tokens)
        return costs.terms(self.prompt_tokens, cached, self.answer_tokens)

    def score_of(self, endpoint_id: str) -> float | None:
        """The score of an endpoint, None if it was not considered."""
        ids = [state.id for state in self.states]
        return self.scores[ids.index(endpoint_id)] if endpoint_id in ids else None


NOT_EXPLAINED = Ranking()


class RejectReason(StrEnum):
    """Why a ticket was turned away."""

    QUEUE_FULL = "queue_full"
    EXPIRED = "expired"
    NOTHING_ELIGIBLE = "nothing_eligible"
    DEADLINE = "deadline"
    """The answer would have come too late, so the client gets the refusal at once."""


class Dispatch(Struct, frozen=True, gc=False):
    """Send the attempt's ticket to its endpoint now."""

    attempt: Attempt
    considered: Ranking


class Hedge(Struct, frozen=True, gc=False):
    """Send the late ticket of ``of`` to a second endpoint too."""

    attempt: Attempt
    of: Attempt


class Probe(Struct, frozen=True, gc=False):
    """Send the router's own tiny request to the attempt's endpoint."""

    attempt: Attempt


class Cancel(Struct, frozen=True, gc=False):
    """Stop this attempt at its worker: it lost its race. Its slot is free already."""

    attempt: Attempt


class Reject(Struct, frozen=True, gc=False):
    """Turn the ticket away. It would probably be served after ``retry_after_s``."""

    ticket: Ticket
    reason: RejectReason
    retry_after_s: float


class Eject(Struct, frozen=True, gc=False):
    """For the record: a worker gets nothing until ``until_s``, and then probes."""

    worker_id: str
    until_s: float


Decision = Dispatch | Hedge | Probe | Cancel | Reject | Eject
