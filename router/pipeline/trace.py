"""What happened to one call, noted as it happens: measurements only, nothing decides by it."""

import time

from router.contracts.record import AttemptRecord, CandidateRecord
from router.domain.catalog import Endpoint
from router.domain.outcome import Outcome
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest
from router.pipeline.plan import Plan
from router.scheduling.decisions import Considered, Dispatch
from router.scheduling.fleet import Attempt


class Trace:
    """Seconds on the monotonic clock. ``usage`` is the worker's word, None until it came."""

    __slots__ = (
        "_ended",
        "attempts",
        "considered",
        "endpoint",
        "finish_reason",
        "first_byte_s",
        "placed_s",
        "request",
        "tokens_delivered",
        "usage",
    )

    def __init__(self, request: InferenceRequest) -> None:
        self.request = request
        self._ended: set[int] = set()
        self.attempts: list[AttemptRecord] = []
        self.considered: tuple[Considered, ...] = ()
        self.endpoint: Endpoint | None = None
        self.placed_s = 0.0
        self.first_byte_s = 0.0
        self.finish_reason = ""
        self.usage: Usage | None = None
        self.tokens_delivered = 0

    def placed(self, dispatch: Dispatch) -> None:
        """A worker was found; the decision of the last attempt is the one that is kept."""
        self.considered = dispatch.considered
        self.endpoint = dispatch.attempt.endpoint.endpoint
        self.placed_s = dispatch.attempt.dispatched_s

    def answered(self, attempt: Attempt, now_s: float) -> None:
        """The client gets the answer of ``attempt``, from now on."""
        self.endpoint = attempt.endpoint.endpoint
        self.placed_s = attempt.dispatched_s
        self.first_byte_s = now_s

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
                outcome=f"{outcome}:{reason}" if reason else outcome.value,
                queue_ms=(attempt.dispatched_s - self.request.arrived_s) * 1e3,
                upstream_ms=(time.monotonic() - attempt.dispatched_s) * 1e3,
            )
        )

    def candidates(self, plan: Plan) -> tuple[CandidateRecord, ...]:
        """Every endpoint that was considered for the last attempt, with the reason it lost."""
        endpoints = {endpoint.id: endpoint for endpoint in plan.endpoints}
        placed = self.endpoint.id if self.endpoint else ""
        chosen = next((one for one in self.considered if one.endpoint_id == placed), None)
        scored = [
            CandidateRecord(
                deployment_id=endpoint.deployment.id,
                worker_id=endpoint.worker.id,
                pool=endpoint.pool.name,
                verdict=_verdict(one, chosen),
                wait_ms=one.wait_s * 1e3,
                service_ms=one.service_s * 1e3,
                score=one.score,
            )
            for one in self.considered
            if (endpoint := endpoints.get(one.endpoint_id)) is not None
        ]
        return (*scored, *plan.filtered)


def _verdict(one: Considered, chosen: Considered | None) -> str:
    if one is chosen:
        return "chosen"
    if chosen is not None and one.score == chosen.score:
        return "tied"
    return "busy" if one.wait_s > 0 else "slower"
