"""Notes what happens to one call, as it happens. Only measurements: nothing is decided by it."""

import time
from functools import partial

from msgspec import Struct, structs

from router.contracts.record import (
    AttemptRecord,
    CandidateRecord,
    Candidates,
    TermsRecord,
    hedge_ms,
)
from router.domain.catalog import Endpoint
from router.domain.outcome import Outcome
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest
from router.domain.verdict import Verdict
from router.pipeline.plans.plan import Plan
from router.ports.upstream import StreamPart
from router.scheduling.decisions import NOT_EXPLAINED, Dispatch, Ranking
from router.scheduling.fleet.worker import Attempt
from router.scheduling.policies.late_binding import PREFERENCE_S
from router.scheduling.waiting.standing import Standing
from router.scheduling.worker_models.costs import Terms


class Abandoned(Struct, frozen=True, gc=False):
    """An attempt whose client left before it got a token of the answer.

    The attempt was expected to take ``expected_s`` (a stream: to its first token) and to have
    ``answer_tokens`` by then. ``is_guess`` says that nothing similar was ever measured.
    """

    expected_s: float
    answer_tokens: float
    is_guess: bool


class Trace:
    """The course of one call. Times are seconds on the monotonic clock.

    ``usage_chunk`` is how the worker told a stream's usage, for a client that wants to know it.
    ``reported`` is the usage that the worker reports, None until it does. ``usage`` is the part of
    it that the router believes. ``told`` is where the call stood as it began to wait, if it did.
    ``guarded`` is what guards found, like ``input=passed``.
    """

    __slots__ = (
        "_ended",
        "abandoned",
        "attempts",
        "considered",
        "endpoint",
        "finish_reason",
        "first_byte_s",
        "guarded",
        "placed_s",
        "reported",
        "request",
        "tokens_delivered",
        "told",
        "usage",
        "usage_chunk",
    )

    def __init__(self, request: InferenceRequest) -> None:
        self.request = request
        self._ended: set[int] = set()
        self.abandoned: Abandoned | None = None
        self.attempts: list[AttemptRecord] = []
        self.considered = NOT_EXPLAINED
        self.endpoint: Endpoint | None = None
        self.placed_s = 0.0
        self.first_byte_s = 0.0
        self.finish_reason = ""
        self.reported: Usage | None = None
        self.usage: Usage | None = None
        self.usage_chunk = b""
        self.tokens_delivered = 0
        self.told: Standing | None = None
        self.guarded: list[str] = []

    def waits(self, standing: Standing) -> None:
        """The call has to wait. Keeps what it is told about that on arrival."""
        if self.told is None:
            self.told = standing

    def placed(self, dispatch: Dispatch) -> None:
        """A worker was found. The decision of the last attempt is kept."""
        self.considered = dispatch.considered
        self.endpoint = dispatch.attempt.endpoint.endpoint
        self.placed_s = dispatch.attempt.dispatched_s

    def answered(self, attempt: Attempt, now_s: float) -> None:
        """From now on, the client gets the answer of this attempt."""
        self.endpoint = attempt.endpoint.endpoint
        self.placed_s = attempt.dispatched_s
        self.first_byte_s = now_s

    def left(self, attempt: Attempt) -> None:
        """The client left while this attempt ran, and got no token of it. It owes for this one."""
        self.endpoint = attempt.endpoint.endpoint
        self.placed_s = attempt.dispatched_s
        is_guess = attempt.endpoint.estimate.is_guess
        if self.request.stream:  # No token has come, or it would have been seen.
            self.abandoned = Abandoned(attempt.run.expected_first_s, 0.0, is_guess)
        else:
            expected_s, tokens = attempt.run.expected_s, attempt.ticket.answer_tokens
            self.abandoned = Abandoned(expected_s, tokens, is_guess)

    def heard(self, part: StreamPart) -> None:
        """A part of the answer's stream came."""
        self.tokens_delivered += part.tokens
        if part.usage is not None:
            self.reported = self.usage = part.usage
            self.usage_chunk = part.usage_chunk or self.usage_chunk
        if part.finish_reason:
            self.finish_reason = part.finish_reason

    def withheld(self, part: StreamPart) -> None:
        """The last part is not delivered, nor is the stream's end."""
        self.tokens_delivered -= part.tokens
        self.finish_reason = ""
        if part.usage is not None:
            self.reported = self.usage = None

    def has_ended(self, attempt: Attempt) -> bool:
        """Whether the end of this attempt was noted."""
        return attempt.id in self._ended

    def ended(self, attempt: Attempt, outcome: Outcome, reason: str = "") -> None:
        """An attempt is over. ``reason`` refines a failure."""
        endpoint = attempt.endpoint.endpoint
        self._ended.add(attempt.id)
        self.attempts.append(
            AttemptRecord(
                deployment_id=endpoint.deployment.id,
                worker_id=endpoint.worker.id,
                pool=endpoint.pool.name,
                outcome=f"{outcome}:{reason}" if reason else outcome,
                queue_ms=(attempt.dispatched_s - self.request.arrived_s) * 1e3,
                upstream_ms=(time.monotonic() - attempt.dispatched_s) * 1e3,
            )
        )

    def failed_alike(self, reason: str) -> set[str]:
        """The workers whose attempts failed for this reason."""
        failure = f"{Outcome.WORKER_FAILED}:{reason}"
        return {attempt.worker_id for attempt in self.attempts if attempt.outcome == failure}

    def excuse(self, reason: str) -> None:
        """The failures for this reason were no fault of the workers."""
        failure, refusal = f"{Outcome.WORKER_FAILED}:{reason}", f"{Outcome.REFUSED}:{reason}"
        self.attempts = [
            structs.replace(attempt, outcome=refusal) if attempt.outcome == failure else attempt
            for attempt in self.attempts
        ]

    def waited_ms(self) -> tuple[float, float]:
        """Milliseconds from arrival to the attempt that answered.

        First those spent waiting for a place, then those spent beside an earlier attempt.
        """
        whole_ms = (self.placed_s - self.request.arrived_s) * 1e3
        worker = self.endpoint.worker.id if self.endpoint else ""
        hedged_ms = hedge_ms(self.attempts, worker, whole_ms)
        return whole_ms - hedged_ms, hedged_ms

    def candidates(self, plan: Plan) -> Candidates:
        """Every endpoint considered for the last attempt, with the reason it lost."""
        placed = self.endpoint.id if self.endpoint else ""
        return Candidates(
            partial(_candidates, self.considered, placed, plan.endpoints, plan.filtered)
        )


def _candidates(
    considered: Ranking,
    placed: str,
    endpoints: tuple[Endpoint, ...],
    filtered: tuple[CandidateRecord, ...],
) -> tuple[CandidateRecord, ...]:
    known = {endpoint.id: endpoint for endpoint in endpoints}
    chosen = considered.score_of(placed)
    scored = [
        CandidateRecord(
            endpoint.deployment.id,
            endpoint.worker.id,
            endpoint.pool.name,
            Verdict.CHOSEN if endpoint.id == placed else _lost(score, wait_s, chosen),
            wait_s * 1e3,
            service_s * 1e3,
            score,
            _told(terms) if terms is not None else None,
            _penalty_s(considered, endpoint_id, wait_s + service_s) * 1e3,
        )
        for endpoint_id, wait_s, service_s, score, terms in considered.rows()
        if (endpoint := known.get(endpoint_id)) is not None
    ]
    return (*scored, *filtered)


def _penalty_s(considered: Ranking, endpoint_id: str, latency_s: float) -> float:
    """What price, order and preferences added to a score."""
    late_s = PREFERENCE_S if latency_s > considered.preferred_s else 0.0
    return considered.penalty_s.get(endpoint_id, 0.0) + late_s


def _told(terms: Terms) -> TermsRecord:
    # Rounding to a microsecond by hand: round() to three digits takes four times as long.
    return TermsRecord(
        int(terms.ahead_s * 1e6 + 0.5) / 1e3,
        int(terms.prefill_s * 1e6 + 0.5) / 1e3,
        int(terms.decode_s * 1e6 + 0.5) / 1e3,
        int(terms.others_s * 1e6 + 0.5) / 1e3,
        int(terms.prompt_tokens + 0.5),
        int(terms.cached_tokens + 0.5),
        int(terms.answer_tokens + 0.5),
    )


def _lost(score: float, wait_s: float, chosen: float | None) -> Verdict:
    """Why a candidate was not chosen."""
    if score == chosen:
        return Verdict.TIED
    return Verdict.BUSY if wait_s > 0 else Verdict.SLOWER
