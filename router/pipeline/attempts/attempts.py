"""Finds a worker that answers: place, call, and if the worker fails, place again elsewhere.

Another try is made only for a fault of the worker before its first byte, on a worker that has not
had the call, while tries and the retry budget last. A late attempt may get a second one beside it
(a hedge).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar

from router.domain.catalog import OWN
from router.domain.errors import (
    NothingEligible,
    OwnEndpointFailed,
    OwnEndpointFull,
    QueueFull,
    RequestFailed,
    WorkerFailed,
    WorkerRefused,
)
from router.domain.outcome import Outcome
from router.domain.pricing import Usage
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.attempts.race import Course, Race
from router.pipeline.plans.plan import Plan, make_ticket
from router.pipeline.recorders.history import Histories
from router.pipeline.settlement.trace import Trace
from router.ports.upstream import Answer, StreamPart, Upstream, UpstreamFailed, UpstreamRefused
from router.scheduling.attempts.endings import (
    ANSWERED,
    ANSWERED_WRONGLY,
    BUSY,
    FAILED,
    GIVEN_UP,
    REFUSED,
    Ending,
)
from router.scheduling.fleet.budget import retry_budget
from router.scheduling.fleet.worker import Attempt
from router.scheduling.ticket import Used
from router.settings import Limits

OWN_WAIT_S = 0.25
"""How long a call waits for a place at an own endpoint, if the market can take it."""

OWN_FAILURES = {
    "http_401": "refuses its key (HTTP 401): rotate the key on the page of your endpoints",
    "http_403": "refuses its key this call (HTTP 403): see what the key may do there",
    "key_unreadable": "has a key that cannot be read any more: set it again on its page",
    "address_refused": "is at an internal address, which is not called",
    "connect": "cannot be reached",
    "timeout": "does not answer in time",
}
"""By the reason of a failure; the others are named as they are."""

T = TypeVar("T")
Parts = AsyncGenerator[StreamPart, None]


class Attempts:
    """Runs the attempts of all calls; they share one retry budget."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        upstreams: Mapping[str, Upstream],
        histories: Histories,
        limits: Limits,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.dispatcher = dispatcher
        self.upstreams = upstreams
        self._histories = histories
        self._limits = limits
        self._retries = retry_budget()

    async def whole_answer(self, plan: Plan, trace: Trace) -> tuple[Attempt, Answer]:
        """Try workers until one answers. Raises ``WorkerFailed`` or ``WorkerRefused``."""
        attempt, answer = await self._first_of(plan, trace, _Whole(self, plan, trace))
        trace.ended(attempt, ANSWERED.outcome)
        return attempt, answer

    async def first_part(
        self, plan: Plan, trace: Trace
    ) -> tuple[Attempt, StreamPart, AsyncGenerator[StreamPart, None]]:
        """Try workers until one begins to answer. The slot stays taken until the caller ends it."""
        attempt, (first, parts) = await self._first_of(plan, trace, _Begun(self, plan, trace))
        return attempt, first, parts

    def ended(
        self,
        attempt: Attempt,
        trace: Trace,
        ending: Ending,
        reason: str = "",
        *,
        rest_s: float = 0.0,
    ) -> None:
        """An attempt is over: tell the scheduler and the record. ``reason`` refines a failure."""
        self.dispatcher.ended(attempt, ending, used=used_of(trace.usage), rest_s=rest_s)
        trace.ended(attempt, ending.outcome, reason)

    def lost(self, attempt: Attempt, trace: Trace, error: UpstreamFailed) -> None:
        """An attempt failed before its first byte, or its worker did not take it."""
        rest_s = 0.0 if error.is_fault else error.retry_after_s
        self.ended(attempt, trace, ending_of(error), error.reason, rest_s=rest_s)

    async def _first_of(self, plan: Plan, trace: Trace, course: Course[T]) -> tuple[Attempt, T]:
        excluded: frozenset[str] = frozenset()
        self._retries.deposit()
        while True:
            attempt = await self._place(plan, trace, excluded)
            race = self.dispatcher.races.begin(Race(self._loop, attempt, course))
            try:
                winner, outcome = await race.outcome()
            except UpstreamFailed as failed:
                excluded = self._after_failure(failed, race, plan, trace, excluded)
            except UpstreamRefused as refused:
                self._all_ended(race, trace, REFUSED)
                raise WorkerRefused(
                    refused.message, status=refused.status, code=refused.code, param=refused.param
                ) from refused
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    _left(race, trace)
                self._all_ended(race, trace, GIVEN_UP)
                raise
            else:
                if trace.attempts:
                    self._confirm(trace)
                trace.answered(winner, time.monotonic())
                _note(attempt if winner is not attempt else race.second, trace, ANSWERED.twin)
                return winner, outcome
            finally:
                self.dispatcher.races.end(race)

    def _all_ended(self, race: Race[T], trace: Trace, ending: Ending) -> None:
        """No attempt at the call is wanted any more."""
        self.dispatcher.ended(race.first, ending)
        _note(race.first, trace, ending)
        _note(race.second, trace, ending.twin)

    async def _place(self, plan: Plan, trace: Trace, excluded: frozenset[str]) -> Attempt:
        ticket = make_ticket(
            plan,
            sizes=self.dispatcher.scheduler.sizes,
            tokens=self.dispatcher.scheduler.tokens,
            histories=self._histories,
            expires_s=time.monotonic() + self._wait_s(plan),
            excluded=excluded,
        )
        try:
            dispatch = await self.dispatcher.place(ticket, trace.waits)
        except QueueFull as full:
            if not is_own(plan):
                raise
            raise OwnEndpointFull(
                f"your organisation's endpoint {plan.request.model!r} has no room: {full.message}",
                retry_after_s=full.retry_after_s,
            ) from full
        except NothingEligible as error:
            if not is_own(plan):
                raise
            raise OwnEndpointFailed(
                f"your organisation's endpoint {plan.request.model!r} failed lately, and is used "
                "again once it answers",
                retry_after_s=error.retry_after_s,
            ) from error
        trace.placed(dispatch)
        return dispatch.attempt

    def _wait_s(self, plan: Plan) -> float:
        """How long a call may wait for a place."""
        spills = bool(plan.request.fallbacks) and is_own(plan)
        return OWN_WAIT_S if spills else self._limits.queue_wait_s

    def _after_failure(
        self,
        error: UpstreamFailed,
        race: Race[T],
        plan: Plan,
        trace: Trace,
        excluded: frozenset[str],
    ) -> frozenset[str]:
        """The workers to avoid in the next attempt.

        Raises ``WorkerFailed`` if no worker is left, ``RequestFailed`` if the request is at fault,
        or ``QueueFull`` if the last worker was full.
        """
        for attempt in (race.first, race.second):
            if attempt is not None:
                excluded |= attempt.ticket.excluded | {attempt.endpoint.worker.id}
                if not trace.has_ended(attempt):
                    self.lost(attempt, trace, error)
        if ending_of(error).is_retried and self._may_retry(plan, trace, excluded):
            return excluded
        if error.is_answer and error.is_fault and not is_own(plan):
            self._check_request(error, plan, trace)
        tries = len(trace.attempts)
        if error.reason == "http_429" and is_own(plan):
            raise OwnEndpointFull(
                f"your organisation's endpoint {plan.request.model!r} says that it is full, try "
                "again",
                retry_after_s=error.retry_after_s or 1,
            ) from error
        if error.reason == "http_429":
            raise QueueFull(
                "every worker of this model says that it is full, try again",
                retry_after_s=error.retry_after_s or 1,
            ) from error
        if is_own(plan):
            raise OwnEndpointFailed(own_failure(plan.request.model, error.reason)) from error
        raise WorkerFailed(
            f"no worker could answer after {tries} attempt{'s' if tries > 1 else ''} "
            f"(last: {error.reason})",
            retry_after_s=1,
        ) from error

    def _confirm(self, trace: Trace) -> None:
        """Another worker could answer, so those that could not are at fault."""
        for attempt in trace.attempts:
            state = self.dispatcher.scheduler.fleet.workers.get(attempt.worker_id)
            if state is not None and attempt.outcome.startswith(Outcome.WORKER_FAILED):
                state.ejection.confirm()

    def _check_request(self, error: UpstreamFailed, plan: Plan, trace: Trace) -> None:
        """Raises ``RequestFailed`` if the request is at fault, not the workers.

        That is so when at least two workers were tried, all gave the same wrong answer, and lately
        gave a wrong answer to no other organisation.
        """
        workers = trace.failed_alike(error.reason)
        if any(attempt.worker_id not in workers for attempt in trace.attempts):
            return
        states = self.dispatcher.scheduler.fleet.workers
        tenant = plan.grant.organisation_id
        if len(workers) > 1 and all(
            (state := states.get(worker_id)) is not None
            and state.ejection.is_blamed_only_by(tenant)
            for worker_id in workers
        ):
            trace.excuse(error.reason)
            raise RequestFailed(
                f"{len(workers)} workers failed on this request in the same way ({error.reason}), "
                "and on no other: it may be what they cannot take",
            ) from error

    def _may_retry(self, plan: Plan, trace: Trace, excluded: frozenset[str]) -> bool:
        return (
            len(trace.attempts) < self._limits.attempts_max
            and any(endpoint.worker.id not in excluded for endpoint in plan.endpoints)
            and self._retries.withdraw()
        )


def is_own(plan: Plan) -> bool:
    """Whether the call is to an endpoint of its organisation."""
    return bool(plan.endpoints) and plan.endpoints[0].deployment.provider == OWN


def own_failure(model: str, reason: str) -> str:
    """What an organisation is told of its own endpoint, which nobody else can mend."""
    named = f"your organisation's endpoint {model!r}"
    said = OWN_FAILURES.get(reason)
    return f"{named} {said}" if said else f"{named} did not give a proper answer ({reason})"


def ending_of(error: UpstreamFailed) -> Ending:
    """How an attempt ends that its worker did not answer."""
    if not error.is_fault:
        return BUSY
    return ANSWERED_WRONGLY if error.is_answer else FAILED


def _left(race: Race[T], trace: Trace) -> None:
    """The client left. It owes for one attempt that ran until then, and for none that failed."""
    for attempt in (race.first, race.second):
        if attempt is not None and trace.abandoned is None and not trace.has_ended(attempt):
            trace.left(attempt)


def _note(attempt: Attempt | None, trace: Trace, ending: Ending | None) -> None:
    """Note how an attempt ended, unless that was noted before."""
    if attempt is not None and ending is not None and not trace.has_ended(attempt):
        trace.ended(attempt, ending.outcome)


def used_of(usage: Usage | None) -> Used | None:
    """The worker's counts, in the scheduler's form."""
    if usage is None or not usage.prompt_tokens + usage.cached_tokens:
        return None
    prompt = usage.prompt_tokens + usage.cached_tokens
    return Used(prompt, usage.cached_tokens, usage.completion_tokens + usage.reasoning_tokens)


class _Course:
    """What both kinds of attempts have in common."""

    __slots__ = ("_attempts", "_plan", "_trace")

    def __init__(self, attempts: Attempts, plan: Plan, trace: Trace) -> None:
        self._attempts = attempts
        self._plan = plan
        self._trace = trace

    def lost(self, attempt: Attempt, error: UpstreamFailed) -> None:
        """See :class:`router.pipeline.attempts.race.Course`."""
        self._attempts.lost(attempt, self._trace, error)


class _Whole(_Course):
    """Attempts at a whole answer: the slot is free once the answer is there."""

    __slots__ = ()

    async def run(self, attempt: Attempt) -> Answer:
        """See :class:`router.pipeline.attempts.race.Course`."""
        endpoint = attempt.endpoint.endpoint
        upstream = self._attempts.upstreams[endpoint.worker.protocol]
        return await upstream.answer(self._plan.request, endpoint)

    def won(self, attempt: Attempt, outcome: Answer) -> None:
        """See :class:`router.pipeline.attempts.race.Course`."""
        self._attempts.dispatcher.ended(attempt, ANSWERED, used=used_of(outcome.usage))

    async def unwanted(self, attempt: Attempt, outcome: Answer) -> None:
        """See :class:`router.pipeline.attempts.race.Course`."""
        self._trace.left(attempt)
        self._trace.ended(attempt, GIVEN_UP.outcome)


class _Begun(_Course):
    """Attempts at the first part of a stream: the winner's slot stays taken."""

    __slots__ = ()

    async def run(self, attempt: Attempt) -> tuple[StreamPart, Parts]:
        """See :class:`router.pipeline.attempts.race.Course`."""
        endpoint = attempt.endpoint.endpoint
        upstream = self._attempts.upstreams[endpoint.worker.protocol]
        parts = upstream.stream(self._plan.request, endpoint)
        return await anext(parts), parts

    def won(self, attempt: Attempt, outcome: tuple[StreamPart, Parts]) -> None:
        """See :class:`router.pipeline.attempts.race.Course`."""
        self._attempts.dispatcher.first_byte(attempt)

    async def unwanted(self, attempt: Attempt, outcome: tuple[StreamPart, Parts]) -> None:
        """See :class:`router.pipeline.attempts.race.Course`."""
        self._trace.left(attempt)
        self._attempts.ended(attempt, self._trace, GIVEN_UP)
        await outcome[1].aclose()
