"""What each place would cost a ticket: its policy's score, less what a cached prompt saves."""

from collections.abc import Mapping, Sequence
from math import inf

from router.domain.catalog import DEFAULT_POLICY
from router.scheduling.caches.affinity import BLOCK_BYTES, NOTHING_CACHED, cached_tokens
from router.scheduling.decisions import Ranking
from router.scheduling.fleet.worker import EndpointState, costs_s
from router.scheduling.learning import Learning
from router.scheduling.policies.late_binding import wait_weight
from router.scheduling.routes import Route, Routes
from router.scheduling.ticket import NO_TERMS, Ticket

SESSION_SHARE = 0.25
"""What of the rest of its prompt a session's home is taken to have: more than estimates of engines
that are alike differ by, and little to wait for where the session's calls share nothing."""


class Scoring:
    """See the module. The lowest score wins."""

    def __init__(self, routes: Routes, learning: Learning) -> None:
        self._routes = routes
        self._tokens = learning.tokens
        self._prefixes = learning.prefixes

    def scores(
        self, route: Route, ticket: Ticket, usable: Sequence[EndpointState], now_s: float
    ) -> Sequence[float]:
        """A score for every endpoint, in the same order."""
        scores = route.placement.score(ticket, usable, now_s)
        return self._less_cached(ticket, usable, scores) if ticket.prefix else scores

    def score(self, ticket: Ticket, state: EndpointState, now_s: float) -> float:
        """The score of one endpoint."""
        (score,) = self.scores(self._routes.of(ticket.policy), ticket, (state,), now_s)
        return score

    def least_s(self, ticket: Ticket, state: EndpointState, now_s: float) -> float:
        """At most the score of one endpoint, if that is in seconds: its whole prompt is cached."""
        model, planned_s = state.model, state.worker.model.planned_s
        least_s = model.cost_s(ticket)
        if ticket.prefix:
            least_s -= model.saved_s(ticket.prompt_tokens)
        if planned_s > now_s:
            least_s += wait_weight(ticket) * (planned_s - now_s)
        return least_s

    def costs_s(self, ticket: Ticket, states: Sequence[EndpointState]) -> Sequence[float]:
        """Seconds of a ticket once it may begin, plus those that it adds to other requests."""
        all_s = costs_s(ticket, states)
        return self._less_cached(ticket, states, all_s) if ticket.prefix else all_s

    def cached(self, ticket: Ticket) -> Mapping[str, int]:
        """How many blocks of its prompt each endpoint should have."""
        return self._prefixes.cached(ticket.prefix) if ticket.prefix else NOTHING_CACHED

    def block_tokens(self, ticket: Ticket) -> float:
        """The expected tokens of a block of its prompt."""
        return self._tokens.prompt(ticket.model, BLOCK_BYTES)

    def ranking(
        self,
        ticket: Ticket,
        usable: Sequence[EndpointState],
        scores: Sequence[float],
        cached: Mapping[str, int],
        now_s: float,
    ) -> Ranking:
        """The scores with what they are made of, for the record of the call."""
        planned_s = [state.worker.model.planned_s for state in usable]
        penalty_s, preferred_s = NO_TERMS, inf
        if ticket.sort is None and ticket.policy.kind == DEFAULT_POLICY:  # Others know of none.
            penalty_s, preferred_s = ticket.penalty_s, ticket.preferred_s
        if not ticket.prompt_tokens:
            unit_s = [state.model.effective_s for state in usable]
            return Ranking(
                usable,
                planned_s,
                unit_s,
                scores,
                now_s,
                ticket.work,
                penalty_s=penalty_s,
                preferred_s=preferred_s,
            )
        return Ranking(
            usable,
            planned_s,
            [state.model.pace for state in usable],
            scores,
            now_s,
            ticket.work,
            ticket.prompt_tokens,
            ticket.answer_tokens,
            self.block_tokens(ticket) if cached else 0.0,
            cached,
            penalty_s,
            preferred_s,
        )

    def _less_cached(
        self, ticket: Ticket, states: Sequence[EndpointState], seconds: Sequence[float]
    ) -> Sequence[float]:
        """The same, less what is saved where the beginning of the prompt is cached.

        The home of its session counts as having more of it than is known. The record of the call
        does not, nor does what engines are expected to report.
        """
        blocks: dict[str, float] = {**self._prefixes.cached(ticket.prefix)}
        home = self._prefixes.home(ticket.session)
        if home is not None:
            known = blocks.get(home, 0.0)
            blocks[home] = known + SESSION_SHARE * (len(ticket.prefix) - known)
        if not blocks:
            return seconds
        each, prompt = self.block_tokens(ticket), ticket.prompt_tokens
        less = list(seconds)
        for place, state in enumerate(states):
            if state.id in blocks:
                cached = cached_tokens(blocks[state.id], each, prompt)
                less[place] -= state.model.saved_s(cached)
        return less
