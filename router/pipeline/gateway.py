"""The path of a call: authenticate, plan, hold, schedule, dispatch, stream, settle, record."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from math import inf
from typing import Any, TypeVar

from router.contracts.cost import with_cost
from router.contracts.record import UsageRecord
from router.domain.catalog import Endpoint
from router.domain.errors import (
    BudgetExhausted,
    CallError,
    CreditExhausted,
    CreditUsedUp,
    DeadlineExceeded,
    InternalError,
    LedgerUnavailable,
    SnapshotUnavailable,
    StreamBroken,
    StreamTooLong,
    WorkerFailed,
)
from router.domain.outcome import Outcome
from router.domain.protocols import KINDS
from router.domain.request import InferenceRequest, Kind
from router.metering.lease import Hold
from router.metering.vault import Vault
from router.pipeline.access.authenticate import authenticate
from router.pipeline.access.limit_rules import limits_by
from router.pipeline.access.masking import Masking
from router.pipeline.access.rate_limit import NO_PERMIT, Permit, RateLimiter
from router.pipeline.access.refusals import Refusals
from router.pipeline.attempts.attempts import Attempts, Parts
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.attempts.starting import WaitingRoom
from router.pipeline.client import Client
from router.pipeline.guarding.held import Held
from router.pipeline.guarding.judging import Guarding, judges_answers
from router.pipeline.guarding.said import answer_texts, stream_texts
from router.pipeline.holds.counting import WorkerCounts
from router.pipeline.holds.holding import Holding
from router.pipeline.plans.auto import choose
from router.pipeline.plans.plan import Plan, make_plan
from router.pipeline.plans.routing_table import EMPTY_TABLE, Grant, RoutingTable
from router.pipeline.settlement.cover import Cover, single_events
from router.pipeline.settlement.route_report import Report, route_headers, route_report
from router.pipeline.settlement.settle import CallAccount, Settlement
from router.pipeline.settlement.trace import Trace
from router.ports.records import Recorder
from router.ports.upstream import StreamPart, UpstreamFailed
from router.scheduling.attempts.endings import ANSWERED, GIVEN_UP, TRUNCATED
from router.scheduling.fleet.worker import Attempt
from router.scheduling.waiting.standing import Standing

T = TypeVar("T")
JSON = "application/json"


class Gateway:
    """One per router. ``table`` is replaced whole when a snapshot comes."""

    def __init__(
        self,
        *,
        router_id: str,
        key_pepper: bytes,
        dispatcher: Dispatcher,
        attempts: Attempts,
        room: WaitingRoom,
        vault: Vault,
        limiter: RateLimiter,
        masking: Masking,
        recorder: Recorder,
        checkpoint: Callable[[UsageRecord], None],
        hardware_max_s: float,
        stream_max_s: float,
        snapshot_age_max_s: float = inf,
        refusals: Refusals | None = None,
    ) -> None:
        self.table: RoutingTable = EMPTY_TABLE
        self.stopping = False
        """Whether the router is about to cut off calls that still run."""
        self._router_id = router_id
        self._key_pepper = key_pepper
        self._dispatcher = dispatcher
        self._attempts = attempts
        self._room = room
        self._vault = vault
        self._limiter = limiter
        self._masking = masking
        self.guarding = Guarding(self.serve)
        self._recorder = recorder
        self._checkpoint = checkpoint
        self._snapshot_age_max_s = snapshot_age_max_s
        self._refusals = refusals
        self._hardware_max_s = hardware_max_s
        self._stream_max_s = stream_max_s
        self.counts = WorkerCounts()
        self.unpaid: Counter[str] = Counter()
        """Nano-USD that calls cost beyond their hold, by model: billed to nobody."""
        self._holding = Holding(self.counts, dispatcher.scheduler.tokens)
        self._confirmed_s = time.time()

    def use(self, table: RoutingTable) -> None:
        """Route by this table from now on. Running calls keep their plan."""
        self.table = table
        self._dispatcher.apply(table.endpoints.values())
        self._room.use(table)

    def confirm(self) -> None:
        """The table in use is the newest as of now."""
        self._confirmed_s = time.time()

    def authenticate(self, authorization: str) -> Grant:
        """See :func:`router.pipeline.access.authenticate.authenticate`."""
        if self.table.version == 0:
            raise SnapshotUnavailable("the catalog is not loaded yet, try again", retry_after_s=1)
        now_s = time.time()
        if now_s > self._confirmed_s + self._snapshot_age_max_s:
            raise SnapshotUnavailable(
                f"nobody has confirmed the catalog for {self._snapshot_age_max_s:g} s, and keys "
                "may have been revoked since; try again",
                retry_after_s=5,
            )
        return authenticate(self.table, authorization, pepper=self._key_pepper, now_s=now_s)

    @property
    def snapshot_age_s(self) -> float:
        """Seconds since somebody confirmed the catalog; 0 where nobody has to."""
        return 0.0 if self._snapshot_age_max_s == inf else time.time() - self._confirmed_s

    @property
    def lease_failures(self) -> int:
        """How often leases could not be had or kept, because the ledger was away."""
        return self._vault.failures

    def service_s(self, endpoint_id: str) -> float | None:
        """Learned seconds of a mean request on an endpoint; None before any was seen."""
        state = self._dispatcher.scheduler.fleet.endpoints.get(endpoint_id)
        return state.estimate.seconds if state is not None and state.estimate.samples else None

    def standing(self, call_id: str) -> Standing | None:
        """Where a call stands that waits for a worker, or for one to start; None if it does not."""
        return self._dispatcher.standing(call_id) or self._room.standing(call_id)

    @property
    def waiting_by_model(self) -> Counter[str]:
        """How many calls wait, by model, for a worker or for one to start."""
        waiting = Counter(self._dispatcher.scheduler.waiting_by_model)
        waiting.update(self._room.starts.waiting_by_model)
        return waiting

    @property
    def waiting(self) -> int:
        """The same in total."""
        return self._dispatcher.scheduler.waiting + self._room.starts.waiting

    async def serve(self, grant: Grant, request: InferenceRequest, client: Client) -> None:
        """Run one call to its end. Raises a ``CallError`` only before the client got a byte."""
        try:
            plan, hold, permit = await self._admitted(grant, request)
        except CallError as error:
            if self._refusals is not None:
                known = self.table.route_for(grant, request.model) is not None
                self._refusals.count(grant, request.model if known else "", error.code)
            raise
        trace = Trace(plan.request)
        account = self._open_account(plan, hold, trace, permit)
        try:
            if grant.guards:
                await self.guarding.judge_call(grant, plan.request, trace)
            if not plan.endpoints:
                plan = await self._room.started(plan, trace.waits)
                account.use(plan)
            if request.stream:
                held = None
                if grant.guards and judges_answers(grant, request):
                    client = held = Held(client)
                await self._stream(plan, trace, account, client, held)
            else:
                await self._answer(plan, trace, account, client)
        except CallError as error:
            account.resolve(error.outcome, error.status, error.recorded_code)
            raise
        except Exception:
            # A fault of ours is never billed.
            account.resolve(Outcome.WORKER_FAILED, InternalError.status, InternalError.code)
            raise
        finally:
            # Still open only if the client left or the router is stopping.
            if self.stopping and (not trace.first_byte_s or trace.abandoned is not None):
                account.resolve(Outcome.REJECTED, 503)  # The router gave the call up, nobody else.
            account.resolve(Outcome.CLIENT_GONE, 499)

    def planned(self, grant: Grant, request: InferenceRequest) -> Plan:
        """See :func:`router.pipeline.plans.plan.make_plan`."""
        return make_plan(
            self.table,
            grant,
            request,
            holding=self._holding,
            hardware_max_s=self._hardware_max_s,
        )

    def quoted(self, grant: Grant, request: InferenceRequest) -> tuple[Plan, int]:
        """The plan of a call that does not run, and the expected tokens of its prompt."""
        plan = self.planned(grant, request)
        return plan, self._holding.prompt_tokens(plan.request)

    def chosen(self, grant: Grant, request: InferenceRequest) -> InferenceRequest:
        """The call of the model that suits it best: see :mod:`router.pipeline.plans.auto`."""
        tenant, asked = grant.organisation_id, request.completion_tokens_asked
        tokens = self._dispatcher.scheduler.tokens
        return choose(
            self.table,
            grant,
            request,
            seconds=self.service_s,
            answer_tokens=lambda model: tokens.answer(model, tenant, asked),
        )

    async def _admitted(self, grant: Grant, request: InferenceRequest) -> tuple[Plan, Hold, Permit]:
        """Everything that a call needs before it may wait for a worker."""
        plan = self.planned(grant, request)
        self._recorder.admit()
        permit, limits = NO_PERMIT, grant.limits
        if grant.rules:
            limits = limits_by(grant, plan.request)
        if grant.masks:
            plan = plan.asking(await self._masking.masked(plan.request, grant.masks))
        if limits:
            permit = await self._limiter.admit(limits, request.prompt_tokens, plan.hold_nano)
        try:
            plan, hold = await self._held(plan)
        except BaseException:
            permit.end(0)
            raise
        return plan, hold, permit

    async def _held(self, plan: Plan) -> tuple[Plan, Hold]:
        """The hold, and the plan that it covers."""
        purse = plan.grant.purse
        try:
            return plan, await self._vault.hold(purse, plan.hold_nano)
        except (BudgetExhausted, CreditExhausted):
            if plan.least_nano >= plan.hold_nano:
                raise
        lessened = plan.lessened()
        return lessened, await self._vault.hold(purse, lessened.hold_nano)

    async def _answer(self, plan: Plan, trace: Trace, account: CallAccount, client: Client) -> None:
        answering = self._attempts.whole_answer(plan, trace)
        if plan.request.wishes.deadline_ms:
            answering = _in_time(plan.request, answering)
        attempt, answer = await answering
        endpoint = attempt.endpoint.endpoint
        trace.reported = trace.usage = answer.usage
        self._weigh(trace, endpoint, answer.own_tokens, completed=True)
        trace.finish_reason = answer.finish_reason
        if plan.grant.guards and judges_answers(plan.grant, plan.request):
            body = answer.body
            await self._judge(plan, trace, account, lambda: answer_texts(body))
        settlement = account.resolve(Outcome.COMPLETED, 200)
        now_s = trace.first_byte_s
        headers = route_headers(plan, trace, endpoint, self._router_id, now_s)
        headers.append(("content-type", answer.content_type))
        headers.append(("x-cost-nano-usd", str(settlement.charge_nano)))
        headers.extend(account.permit.headers())
        headers.extend(answer.headers)
        report = self._report(plan, trace, endpoint, account, settlement, now_s)
        body = answer.body
        if plan.request.kind is not Kind.INFER and answer.content_type == JSON:
            body = with_cost(body, settlement.charge_nano)
        await client.answer(headers, body, report)

    async def _judge(
        self,
        plan: Plan,
        trace: Trace,
        account: CallAccount,
        texts: Callable[[], list[str]],
        outcome: Outcome = Outcome.COMPLETED,
    ) -> None:
        """Judge an answer. It is billed, whether or not it goes out: the worker gave it."""
        try:
            await self.guarding.judge_answer(plan.grant, plan.request, texts, trace)
        except CallError as error:
            account.resolve(outcome, error.status, error.recorded_code)
            raise

    async def _stream(
        self, plan: Plan, trace: Trace, account: CallAccount, client: Client, held: Held | None
    ) -> None:
        beginning = self._attempts.first_part(plan, trace)
        if plan.request.wishes.deadline_ms:
            beginning = _in_time(plan.request, beginning)
        until_s = plan.request.arrived_s + self._stream_max_s
        try:
            async with asyncio.timeout_at(until_s):
                attempt, first, parts = await beginning
        except TimeoutError:
            raise WorkerFailed(
                f"no worker began to answer within {self._stream_max_s:g} s"
            ) from None
        endpoint = attempt.endpoint.endpoint
        try:
            async with aclosing(parts):
                headers = route_headers(plan, trace, endpoint, self._router_id, trace.first_byte_s)
                headers.extend(account.permit.headers())
                headers.extend(first.headers)
                await client.start_stream(headers)
                async with asyncio.timeout_at(until_s):
                    error = await self._forward(plan, attempt, first, parts, trace, account, client)
        except UpstreamFailed as failed:
            self._attempts.ended(attempt, trace, TRUNCATED, failed.reason)
            error = StreamBroken(
                "the worker failed after it had begun to answer; what was delivered is billed"
            )
        except TimeoutError:
            self._attempts.ended(attempt, trace, GIVEN_UP)
            error = StreamTooLong(
                "the answer takes longer than a stream may; what was delivered is billed"
            )
        except BaseException:
            if not trace.tokens_delivered and trace.reported is None:
                trace.left(attempt)  # Only the head of an answer came.
            self._attempts.ended(attempt, trace, GIVEN_UP)
            raise
        else:
            if error is not None:  # The worker generates more than can be paid.
                self._attempts.ended(attempt, trace, GIVEN_UP)
        if error is None:
            self._weigh(trace, endpoint, trace.tokens_delivered, completed=True)
            self._attempts.ended(attempt, trace, ANSWERED)
        await self._end(plan, trace, endpoint, account, client, held, error)

    async def _end(
        self,
        plan: Plan,
        trace: Trace,
        endpoint: Endpoint,
        account: CallAccount,
        client: Client,
        held: Held | None,
        error: CallError | None,
    ) -> None:
        """Release a stream that was held, and end it."""
        if held is not None:
            outcome = Outcome.COMPLETED if error is None else Outcome.TRUNCATED
            chunks = held.chunks
            last = trace.usage_chunk
            await self._judge(plan, trace, account, lambda: stream_texts(chunks, last), outcome)
            await held.release(trace.guarded)
        if error is not None:
            account.resolve(Outcome.TRUNCATED, 200, error.recorded_code)
            return await client.end_stream(error)
        await self._tell_end(plan, trace, endpoint, account, client)

    async def _tell_end(
        self, plan: Plan, trace: Trace, endpoint: Endpoint, account: CallAccount, client: Client
    ) -> None:
        """Settle a whole stream, and tell its client what it used and cost."""
        settlement = account.resolve(Outcome.COMPLETED, 200)
        report = self._report(plan, trace, endpoint, account, settlement, time.monotonic())
        if trace.usage_chunk:
            chunk = with_cost(trace.usage_chunk, settlement.charge_nano)
            await client.send(b"data: %b\n\n" % chunk)
        await client.end_stream(report=report)

    def _report(
        self,
        plan: Plan,
        trace: Trace,
        endpoint: Endpoint,
        account: CallAccount,
        settlement: Settlement,
        now_s: float,
    ) -> Report | None:
        if not plan.request.explain:
            return None
        return route_report(plan, trace, endpoint, settlement, account.hold.amount_nano, now_s)

    async def _forward(
        self,
        plan: Plan,
        attempt: Attempt,
        first: StreamPart,
        parts: Parts,
        trace: Trace,
        account: CallAccount,
        client: Client,
    ) -> CallError | None:
        """Pass on the stream to its end, or until no more can be held: then returns why."""
        endpoint = attempt.endpoint.endpoint
        event_tokens = self.counts.event_tokens(plan.request.model)
        cover = Cover(plan, account, self._vault, plan.price(endpoint.deployment), event_tokens)
        part = first
        pieces: list[StreamPart] = []
        attempt.heard(first.tokens, trace.first_byte_s)
        while True:
            self._heard(trace, endpoint, part)
            stop: CallError | None = None
            if trace.tokens_delivered > cover.enough and (plan.grows or not part.done):
                stop = await cover.passed(trace.tokens_delivered)
            if isinstance(stop, CreditUsedUp | LedgerUnavailable):
                trace.withheld(part)
                # The hold does not cover all of it: pass on event by event as far as it does.
                pieces = single_events(part)[::-1]
                if len(pieces) == 1:
                    return stop
            else:
                if part.chunk:
                    account.delivering()
                    await client.send(part.chunk)
                if part.done or stop is not None:
                    return None if part.done else stop
            if pieces:
                part = pieces.pop()
                continue
            following = await anext(parts, None)
            if following is None:
                return None
            part = following
            attempt.heard(part.tokens, time.monotonic())

    def _heard(self, trace: Trace, endpoint: Endpoint, part: StreamPart) -> None:
        trace.heard(part)
        if part.usage is not None:
            self._weigh(trace, endpoint, trace.tokens_delivered)

    def _weigh(
        self, trace: Trace, endpoint: Endpoint, own_tokens: int | None, *, completed: bool = False
    ) -> None:
        """Set the trace's usage to what the router believes of the worker's report."""
        reported = trace.reported
        if reported is None or not KINDS[trace.request.kind].counts_tokens:
            return
        counts, request = self.counts, trace.request
        if not completed:
            trace.usage = counts.believed(request, reported, own_tokens)
            return
        trace.usage = counts.weighed(endpoint.deployment.id, request, reported, own_tokens)
        if trace.usage != reported:
            counts.cut[request.model, endpoint.worker.id] += 1

    def _open_account(self, plan: Plan, hold: Hold, trace: Trace, permit: Permit) -> CallAccount:
        return CallAccount(
            plan,
            hold,
            trace,
            permit,
            router_id=self._router_id,
            release=self._vault.book.settle,
            keep=self._recorder.append,
            checkpoint=self._checkpoint,
            raised=self._vault.book.raised,
            unpaid=self.unpaid,
        )


async def _in_time(request: InferenceRequest, answering: Coroutine[Any, Any, T]) -> T:
    """The answer, or ``DeadlineExceeded`` when the request's own deadline passes before it."""
    deadline_ms = request.wishes.deadline_ms
    try:
        async with asyncio.timeout_at(request.arrived_s + deadline_ms / 1e3):
            return await answering
    except TimeoutError:
        raise DeadlineExceeded(
            f"the request's deadline of {deadline_ms} ms passed before a worker answered",
            param="deadline_ms",
        ) from None
