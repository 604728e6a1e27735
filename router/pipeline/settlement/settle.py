"""What a call is charged: one pure function, and an account that settles at most once."""

import time
from collections import Counter
from collections.abc import Callable

from msgspec import Struct, structs

from router.contracts.record import UsageRecord
from router.domain.errors import is_name
from router.domain.money import commission_nano
from router.domain.outcome import BILLED, Outcome
from router.domain.pricing import Usage, charge_nano
from router.domain.protocols import KINDS
from router.domain.request import masked_text
from router.metering.lease import Hold
from router.pipeline.access.rate_limit import NO_PERMIT, Permit
from router.pipeline.plans.plan import Plan
from router.pipeline.settlement.trace import Abandoned, Trace

NOTHING_USED = Usage()
CHECKPOINT_TOKENS = 64
CHECKPOINT_S = 1.0
"""A stream's journal is at most this many seconds or tokens behind its client."""


class Settlement(Struct, frozen=True, gc=False):
    """The end of a hold, in nano-USD. ``owed_nano`` is the price of the usage, held or not."""

    outcome: Outcome
    usage: Usage
    charge_nano: int
    commission_nano: int
    owed_nano: int = 0


def settle(plan: Plan, hold: Hold, trace: Trace, outcome: Outcome, now_s: float) -> Settlement:
    """Charge a call that ended at ``now_s`` with this outcome. Never more than was held."""
    endpoint = trace.endpoint
    if outcome not in BILLED or endpoint is None:
        return Settlement(outcome, NOTHING_USED, 0, 0)
    bound, taken_s = plan.request.bound, now_s - trace.placed_s
    if trace.abandoned is not None:
        usage, worked = _produced(plan, trace.abandoned, taken_s), True
    else:
        usage = trace.usage or _counted(plan, trace)
        worked = outcome is Outcome.COMPLETED or usage != NOTHING_USED
        if worked and bound.images and not usage.images:
            usage = structs.replace(usage, images=bound.images)  # Workers report their tokens.
    if outcome is Outcome.TRUNCATED and KINDS[plan.request.kind].gives:
        return Settlement(outcome, NOTHING_USED, 0, 0)  # Half of a sound is of no use.
    if worked and bound.hardware_ms:  # Workers do not report their time.
        taken_ms = min(int(taken_s * 1e3), bound.hardware_ms)
        usage = structs.replace(usage, hardware_ms=taken_ms)
    if usage == NOTHING_USED and outcome is not Outcome.COMPLETED:
        return Settlement(outcome, usage, 0, 0)
    deployment = endpoint.deployment
    owed = charge_nano(plan.price(deployment), usage)
    charge = min(owed, hold.amount_nano)
    commission = commission_nano(charge, deployment.commission_bps)
    return Settlement(outcome, usage, charge, commission, owed)


def _counted(plan: Plan, trace: Trace) -> Usage:
    """Usage by the router's own count, for a worker that has reported none."""
    if not trace.tokens_delivered:
        return NOTHING_USED
    return Usage(prompt_tokens=plan.request.prompt_tokens, completion_tokens=trace.tokens_delivered)


def _produced(plan: Plan, abandoned: Abandoned, taken_s: float) -> Usage:
    """What a worker has probably done of an answer whose client left before its first token.

    It is the expected usage times the elapsed share of the expected time. A prompt counts at most
    once. If the expected time was measured, the answer may exceed the expectation, up to its bound.
    """
    request = plan.request
    share = max(taken_s, 0.0) / abandoned.expected_s if abandoned.expected_s > 0 else 0.0
    whole = min(share, 1.0)
    answer = int(abandoned.answer_tokens * (whole if abandoned.is_guess else share))
    return Usage(
        prompt_tokens=int(request.prompt_tokens * whole),
        completion_tokens=min(answer, plan.completion_tokens_held),
        rows=int(request.bound.rows * whole),
        images=int(request.bound.images * whole),
    )


class CallAccount:
    """The open account of one admitted call, resolved exactly once.

    ``keep`` takes the finished record and ``release`` returns the hold. Both are synchronous, so
    that nothing can come between them, not even a cancellation. ``checkpoint`` takes what a running
    stream would owe. ``raised`` gives the hold with more of its lease, if the lease has it. What a
    call owes beyond its hold is counted in ``unpaid``, by model. ``permit`` ends with the account.
    """

    __slots__ = (
        "_checkpoint",
        "_checkpoint_s",
        "_checkpoint_tokens",
        "_keep",
        "_plan",
        "_raised",
        "_release",
        "_router_id",
        "_trace",
        "_unpaid",
        "hold",
        "permit",
        "settlement",
    )

    def __init__(
        self,
        plan: Plan,
        hold: Hold,
        trace: Trace,
        permit: Permit = NO_PERMIT,
        *,
        router_id: str,
        release: Callable[[Hold, int], None],
        keep: Callable[[UsageRecord], None],
        checkpoint: Callable[[UsageRecord], None],
        raised: Callable[[Hold, int], Hold | None],
        unpaid: Counter[str],
    ) -> None:
        self._plan = plan
        self.hold = hold
        self._trace = trace
        self.permit = permit
        self._router_id = router_id
        self._release = release
        self._keep = keep
        self._checkpoint = checkpoint
        self._raised = raised
        self._unpaid = unpaid
        self._checkpoint_s = trace.request.arrived_s + CHECKPOINT_S
        self._checkpoint_tokens = CHECKPOINT_TOKENS
        self.settlement: Settlement | None = None

    def resolve(self, outcome: Outcome, http_status: int, error: str = "") -> Settlement:
        """Settle and record. ``error`` is the code of the error that the client gets, if any.

        A second call changes nothing and returns the first settlement.
        """
        if self.settlement is None:
            now_s = time.monotonic()
            settlement = settle(self._plan, self.hold, self._trace, outcome, now_s)
            short_nano = settlement.owed_nano - self.hold.amount_nano
            if short_nano > 0:
                settlement = self._short(settlement, short_nano, now_s)
            self.settlement = settlement
            self._release(self.hold, settlement.charge_nano)
            self.permit.end(settlement.usage.tokens, settlement.charge_nano)
            self._keep(self._record(settlement, http_status, now_s, error))
        return self.settlement

    def use(self, plan: Plan) -> None:
        """Settle and record by this plan: the same call, with the endpoints that it got later."""
        self._plan = plan

    def raise_hold(self, hold: Hold) -> None:
        """Use a larger hold for the call, also in what is journalled from now on."""
        self.hold = hold

    def _short(self, settlement: Settlement, short_nano: int, now_s: float) -> Settlement:
        """The worker counts more than was held: hold more for it, as far as that is possible."""
        plan = self._plan
        more_nano = min(short_nano, plan.most_nano - self.hold.amount_nano)
        if plan.grows and more_nano > 0:
            raised = self._raised(self.hold, more_nano)
            if raised is not None:
                self.hold = raised
                settlement = settle(plan, raised, self._trace, settlement.outcome, now_s)
        unpaid_nano = settlement.owed_nano - settlement.charge_nano
        if unpaid_nano:
            self._unpaid[plan.request.model] += unpaid_nano
        return settlement

    def delivering(self) -> None:
        """The client of a stream is about to get more: journal that first, if it is enough.

        Journalled before the delivery, because a part may be of any size and a router that dies is
        not paid for it.
        """
        tokens, now_s = self._trace.tokens_delivered, time.monotonic()
        if tokens > self._checkpoint_tokens or now_s >= self._checkpoint_s:
            self._checkpoint_tokens = tokens + CHECKPOINT_TOKENS
            self._checkpoint_s = now_s + CHECKPOINT_S
            so_far = settle(self._plan, self.hold, self._trace, Outcome.INTERRUPTED, now_s)
            self._checkpoint(self._record(so_far, 200, now_s))

    def _record(
        self, settlement: Settlement, http_status: int, now_s: float, error: str = ""
    ) -> UsageRecord:
        plan, trace, hold = self._plan, self._trace, self.hold
        request, grant, usage = plan.request, plan.grant, settlement.usage
        endpoint, told = trace.endpoint, trace.told
        deployment = endpoint.deployment if endpoint else None
        return UsageRecord(
            request_id=request.id,
            router_id=self._router_id,
            lease_id=hold.lease_id,
            account_id=grant.purse.account_id,
            organisation_id=grant.organisation_id,
            key_id=grant.key_id,
            user_id=grant.user_id,
            policy_id=plan.policy.id,
            traceparent=request.traceparent,
            parent_span_id=request.parent_span_id,
            app=request.app.host,
            app_title=request.app.title,
            asked=request.asked,
            why=request.why,
            masked=masked_text(request),
            guarded=", ".join(trace.guarded),
            error=error,
            model=request.model,
            kind=request.kind,
            outcome=settlement.outcome,
            http_status=http_status,
            streamed=request.stream,
            created_at_ms=request.created_at_ms,
            deployment_id=deployment.id if deployment else 0,
            price_id=deployment.price.id if deployment else 0,
            price_class=plan.price_class,
            priority=request.wishes.priority,
            worker_id=endpoint.worker.id if endpoint else "",
            pool=endpoint.pool.name if endpoint else "",
            provider_account_id=deployment.provider_account_id if deployment else 0,
            hold_nano=hold.amount_nano,
            charge_nano=settlement.charge_nano,
            commission_nano=settlement.commission_nano,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            rows=usage.rows,
            images=usage.images,
            hardware_ms=usage.hardware_ms,
            place=told.place if told is not None else 0,
            eta_ms=_span_ms(0.0, told.eta_s) if told is not None else 0.0,
            queue_ms=_span_ms(request.arrived_s, trace.placed_s),
            ttft_ms=_span_ms(request.arrived_s, trace.first_byte_s),
            upstream_ms=_span_ms(trace.placed_s, now_s) if trace.placed_s else 0.0,
            total_ms=_span_ms(request.arrived_s, now_s),
            # A worker's word, which may be anything.
            finish_reason=trace.finish_reason if is_name(trace.finish_reason) else "",
            attempts=tuple(trace.attempts),
            candidates=trace.candidates(plan),
        )


def _span_ms(start_s: float, end_s: float) -> float:
    """Milliseconds, rounded to a microsecond. ``round`` takes twice as long."""
    return int((end_s - start_s) * 1e6 + 0.5) / 1e3 if end_s > start_s else 0.0
