"""Finding a worker that answers: place, call, and on a worker's failure place again elsewhere.

Only a worker's fault before its first byte is worth another try, on a worker that has not had it,
while tries and the retry budget last.
"""

import time
from collections.abc import AsyncGenerator, Mapping

from router.domain.catalog import Endpoint
from router.domain.errors import WorkerFailed
from router.domain.outcome import Outcome
from router.pipeline.dispatch import Dispatcher
from router.pipeline.plan import Plan
from router.pipeline.trace import Trace
from router.ports import Answer, StreamPart, Upstream, UpstreamFailed, UpstreamRefused
from router.scheduling.fleet import Attempt
from router.scheduling.retry_budget import RetryBudget
from router.scheduling.ticket import Ticket
from router.settings import Limits


class Attempts:
    """Runs the attempts of all calls; they share one retry budget."""

    def __init__(
        self, dispatcher: Dispatcher, upstreams: Mapping[str, Upstream], limits: Limits
    ) -> None:
        self._dispatcher = dispatcher
        self._upstreams = upstreams
        self._limits = limits
        self._retries = RetryBudget()

    async def whole_answer(self, plan: Plan, trace: Trace) -> tuple[Answer, Endpoint]:
        """Try workers until one answers. Raises ``WorkerFailed`` or ``UpstreamRefused``."""
        excluded: frozenset[str] = frozenset()
        self._retries.deposit()
        while True:
            attempt = await self._place(plan, trace, excluded)
            endpoint = attempt.endpoint.endpoint
            try:
                upstream = self._upstreams[endpoint.worker.protocol]
                answer = await upstream.answer(plan.request, endpoint)
            except UpstreamFailed as error:
                excluded = self._after_failure(error, attempt, plan, trace, excluded)
                continue
            except BaseException as error:
                self._given_up(error, attempt, plan, trace)
                raise
            trace.first_byte_s = time.monotonic()
            self.completed(attempt, plan, trace)
            return answer, endpoint

    async def first_part(
        self, plan: Plan, trace: Trace
    ) -> tuple[Attempt, StreamPart, AsyncGenerator[StreamPart, None]]:
        """Try workers until one begins to answer; the slot stays taken until the caller ends it."""
        excluded: frozenset[str] = frozenset()
        self._retries.deposit()
        while True:
            attempt = await self._place(plan, trace, excluded)
            endpoint = attempt.endpoint.endpoint
            parts = self._upstreams[endpoint.worker.protocol].stream(plan.request, endpoint)
            try:
                first = await anext(parts)
            except UpstreamFailed as error:
                excluded = self._after_failure(error, attempt, plan, trace, excluded)
                continue
            except BaseException as error:
                self._given_up(error, attempt, plan, trace)
                raise
            trace.first_byte_s = time.monotonic()
            return attempt, first, parts

    def completed(self, attempt: Attempt, plan: Plan, trace: Trace) -> None:
        """The last token came."""
        self._dispatcher.completed(attempt)
        _note(trace, plan, Outcome.COMPLETED)

    def truncated(self, attempt: Attempt, plan: Plan, trace: Trace, reason: str) -> None:
        """The worker failed after its first byte."""
        self._dispatcher.failed(attempt)
        _note(trace, plan, Outcome.TRUNCATED, reason)

    def client_gone(self, attempt: Attempt, plan: Plan, trace: Trace) -> None:
        """Nobody reads the answer any more."""
        self._dispatcher.cancelled(attempt)
        _note(trace, plan, Outcome.CLIENT_GONE)

    async def _place(self, plan: Plan, trace: Trace, excluded: frozenset[str]) -> Attempt:
        request = plan.request
        ticket = Ticket(
            id=request.id,
            candidates=plan.endpoint_ids,
            policy=plan.policy,
            work=1.0,
            arrived_s=request.arrived_s,
            expires_s=time.monotonic() + self._limits.queue_wait_s,
            excluded=excluded,
        )
        dispatch = await self._dispatcher.place(ticket)
        trace.placed(dispatch, time.monotonic())
        return dispatch.attempt

    def _after_failure(
        self,
        error: UpstreamFailed,
        attempt: Attempt,
        plan: Plan,
        trace: Trace,
        excluded: frozenset[str],
    ) -> frozenset[str]:
        """The workers to avoid in the next attempt; raises ``WorkerFailed`` if there is none."""
        (self._dispatcher.failed if error.is_fault else self._dispatcher.cancelled)(attempt)
        _note(trace, plan, Outcome.WORKER_FAILED, error.reason)
        excluded |= {attempt.endpoint.worker.id}
        if self._may_retry(plan, trace, excluded):
            return excluded
        tries = len(trace.attempts)
        raise WorkerFailed(
            f"no worker could answer after {tries} attempt{'s' if tries > 1 else ''} "
            f"(last: {error.reason})",
            retry_after_s=1,
        ) from error

    def _may_retry(self, plan: Plan, trace: Trace, excluded: frozenset[str]) -> bool:
        return (
            len(trace.attempts) < self._limits.attempts_max
            and any(endpoint.worker.id not in excluded for endpoint in plan.endpoints)
            and self._retries.withdraw()
        )

    def _given_up(self, error: BaseException, attempt: Attempt, plan: Plan, trace: Trace) -> None:
        """An attempt ended for a reason that is not the worker's."""
        self._dispatcher.cancelled(attempt)
        refused = isinstance(error, UpstreamRefused)
        _note(trace, plan, Outcome.REFUSED if refused else Outcome.CLIENT_GONE)


def _note(trace: Trace, plan: Plan, outcome: Outcome, reason: str = "") -> None:
    trace.attempt_ended(outcome, reason, plan.request.arrived_s, time.monotonic())
