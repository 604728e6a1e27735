"""Begins attempts: a client's request, its second attempt, or a probe."""

from collections.abc import Mapping, Sequence

from router.domain.catalog import Policy
from router.domain.request import Priority
from router.scheduling.attempts.hedging import LATE, HedgeClock, batch_patience_s
from router.scheduling.caches.affinity import cached_tokens
from router.scheduling.decisions import NOT_EXPLAINED, Dispatch, Hedge, Probe
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.fleet.worker import Attempt, EndpointState, WorkerState
from router.scheduling.learning import Learning
from router.scheduling.scoring import Scoring
from router.scheduling.ticket import Ticket

PROBE_TIMEOUT_S = 2.0
"""How long a probe may take, unless the worker is known to be slow."""


class Sender:
    """Every attempt begins here: it takes a place at its worker, and is watched until it is late.

    With ``explain`` false, decisions do not list the endpoints considered.
    """

    def __init__(
        self,
        fleet: Fleet,
        scoring: Scoring,
        learning: Learning,
        watched: HedgeClock,
        *,
        explain: bool,
    ) -> None:
        self._fleet = fleet
        self._scoring = scoring
        self._prefixes = learning.prefixes
        self._watched = watched
        self._explain = explain
        self._made = 0

    def send(
        self,
        ticket: Ticket,
        state: EndpointState,
        usable: Sequence[EndpointState],
        scores: Sequence[float],
        now_s: float,
    ) -> Dispatch:
        """Send a ticket to an endpoint, the best of the ``usable`` ones by their ``scores``."""
        ranking, cached = NOT_EXPLAINED, self._scoring.cached(ticket)
        if self._explain:
            ranking = self._scoring.ranking(ticket, usable, scores, cached, now_s)
        return Dispatch(
            self._begin(ticket, state, cached, now_s, self._patience_s(ticket)), ranking
        )

    def _patience_s(self, ticket: Ticket) -> float:
        if ticket.priority is not Priority.BATCH:
            return 0.0
        usable = self._fleet.slate(ticket.candidates).usable(ticket.excluded)
        return batch_patience_s(ticket, usable)

    def hedge(self, late: Attempt, state: EndpointState, now_s: float) -> Hedge:
        """Send the ticket of a late attempt to a second endpoint."""
        ticket = late.ticket
        second = self._begin(ticket, state, self._scoring.cached(ticket), now_s)
        second.is_hedge = True
        late.twin, second.twin = second, late
        return Hedge(second, late)

    def probe(self, worker: WorkerState, now_s: float) -> Probe:
        """Send the router's own tiny request to the endpoint of a worker that is known best."""
        self._made += 1
        state = max(worker.endpoints, key=lambda state: state.estimate.samples)
        work = state.service.shared.probe_work or 1.0
        patience_s = PROBE_TIMEOUT_S
        if not worker.is_engine:  # An engine soon has the one token that it is asked for.
            patience_s = max(patience_s, LATE * state.estimate.seconds * work)
        ticket = Ticket(
            id=f"probe-{self._made}",
            candidates=(state.id,),
            policy=Policy(0, 0, state.endpoint.deployment.model),
            arrived_s=now_s,
            expires_s=now_s + patience_s,
        )
        attempt = Attempt(self._made, ticket, state, work, now_s)
        attempt.is_probe = True
        worker.begin(attempt)
        worker.probes.running = True
        worker.probes.asked_s = now_s
        self._watched.watch(attempt, now_s, patience_s=patience_s)
        return Probe(attempt)

    def _begin(
        self,
        ticket: Ticket,
        state: EndpointState,
        cached: Mapping[str, int],
        now_s: float,
        patience_s: float = 0.0,
    ) -> Attempt:
        self._made += 1
        prefix, expected = ticket.prefix, 0.0
        if prefix and state.model.keeps_prompts:
            blocks, prompt = cached.get(state.id, 0), ticket.prompt_tokens
            expected = cached_tokens(blocks, self._scoring.block_tokens(ticket), prompt)
            self._prefixes.sent(prefix, state.id, ticket.session)
        attempt = Attempt(self._made, ticket, state, ticket.work, now_s, expected)
        if not ticket.yields:
            state.worker.others_s = now_s
        state.worker.begin(attempt)
        self._watched.watch(attempt, now_s, patience_s=patience_s)
        return attempt
