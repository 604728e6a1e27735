"""Grant and request → where the call may go, and the most that it may cost.

The plan says where a request *may* go; the scheduler says where it goes, and when.
"""

from collections.abc import Mapping, Sequence
from math import inf

import msgspec
from msgspec import Struct

from router.contracts.record import CandidateRecord
from router.domain.catalog import Deployment, Endpoint, Policy
from router.domain.errors import (
    CallError,
    ModelUnknown,
    NothingEligible,
    OwnEndpointAway,
    RequestInvalid,
)
from router.domain.money import NANO_MAX, format_usd
from router.domain.pricing import Price, PriceClass, Usage, hold_nano
from router.domain.protocols import KINDS
from router.domain.request import NO_WISHES, InferenceRequest, Priority, Sort
from router.domain.verdict import Verdict
from router.pipeline.holds.holding import Holding
from router.pipeline.plans.eligibility import (
    Eligibility,
    Startable,
    eligibility,
    required_parameters,
    startable,
)
from router.pipeline.plans.fit import check_fit, check_said
from router.pipeline.plans.naming import find_route
from router.pipeline.plans.routing_table import NO_STARTS, Grant, Route, RoutingTable
from router.pipeline.plans.sizing import prefix_blocks, session_of, size_features
from router.pipeline.plans.utility import costs_nano, expected_latency_s, penalties_s
from router.pipeline.recorders.history import Histories
from router.scheduling.estimates.size import SizePredictor
from router.scheduling.estimates.tokens import TokenEstimates
from router.scheduling.ticket import NO_TERMS, Ticket

RETRY_AFTER_S = 5.0
WISHES: Mapping[str, str] = {
    Verdict.NOT_WANTED: "only or order",
    Verdict.IGNORED: "ignore",
    Verdict.TOO_DEAR: "max_price",
    Verdict.QUANTIZATION: "quantizations",
    Verdict.DATA_COLLECTION: "data_collection",
    Verdict.PARAMETERS: "require_parameters",
}
"""The wish that each verdict comes from."""

DRAWS = 2**32
"""The number of values of a request id's last digits, which are random and so equally likely."""


class Plan(Struct, frozen=True):
    """A call that may run.

    ``hold_nano`` is held at the beginning and covers the dearest endpoint in reach. ``most_nano``
    is the most that the call can cost in the end, with the usage ``most``.
    ``completion_tokens_held`` is how long an answer the hold covers, 0 where that has no meaning.
    With ``grows``, more is held while a stream runs. If credit does not cover the hold but covers
    ``least_nano``, the call may run ``lessened``.

    It is charged in ``price_class``. A plan without endpoints waits until a worker of ``starts``
    does: pools, and the seconds that a start takes there.
    """

    grant: Grant
    request: InferenceRequest
    policy: Policy
    endpoints: tuple[Endpoint, ...]
    endpoint_ids: tuple[str, ...]
    filtered: tuple[CandidateRecord, ...]
    hold_nano: int
    least_nano: int
    most_nano: int
    completion_tokens_held: int
    completion_tokens_least: int
    most: Usage
    grows: bool
    starts: Mapping[str, float] = NO_STARTS
    price_class: PriceClass = PriceClass.STANDARD

    def price(self, deployment: Deployment) -> Price:
        """What the call is charged by if the deployment serves it."""
        return deployment.price.in_class(self.price_class)

    def asking(self, request: InferenceRequest) -> "Plan":
        """The plan with the call in other words."""
        return msgspec.structs.replace(self, request=request)

    def started(self, found: Eligibility) -> "Plan":
        """The plan with the endpoints that there are now; what is held stays."""
        return msgspec.structs.replace(
            self,
            endpoints=found.endpoints,
            endpoint_ids=found.endpoint_ids,
            filtered=found.filtered,
        )

    def lessened(self) -> "Plan":
        """The plan with the answer limited to the expected length; the worker gets that limit."""
        tokens = self.completion_tokens_least
        bound = msgspec.structs.replace(self.request.bound, completion_tokens=tokens)
        return msgspec.structs.replace(
            self,
            request=msgspec.structs.replace(self.request, bound=bound),
            hold_nano=self.least_nano,
            most_nano=self.least_nano,
            completion_tokens_held=tokens,
        )


def make_plan(
    table: RoutingTable,
    grant: Grant,
    request: InferenceRequest,
    *,
    holding: Holding,
    hardware_max_s: float,
) -> Plan:
    """Decide where a call may go and what it may cost.

    ``hardware_max_s`` is held for when a price is per second and the call has no deadline. Raises
    ``ModelUnknown``, ``NotAllowed``, ``RequestInvalid``, ``WorkerRefused`` or ``NothingEligible``.
    """
    request, route = find_route(table, grant, request)
    check_fit(route.model, request)
    check_said(route, request)
    found, starts = _eligible(route, request), NO_STARTS
    if not found.endpoints:
        startable = _startable(route, request, found)
        found, starts = startable.found, startable.pools
    request = _bounded(request, route)
    if found.by_the_second:
        request = _timed(request, hardware_max_s)
    is_batch = grant.batch and request.wishes.priority is Priority.BATCH
    price_class = PriceClass.BATCH if is_batch else PriceClass.STANDARD
    prices = [price.in_class(price_class) for price in found.prices]
    held = holding.held(route.model, grant.organisation_id, request)
    most = first = least = _dearest(prices, held.most)
    if held.least is not held.most:
        least = _dearest(prices, held.least)
        first = most if held.first is held.most else least
    if most > NANO_MAX:
        raise RequestInvalid(
            f"this call may cost up to ${format_usd(most)}, more than can be paid; "
            "lower max_tokens or ask for less at once",
            param="max_tokens",
        )
    return Plan(
        grant=grant,
        request=request,
        policy=_arm(route, request),
        endpoints=found.endpoints,
        endpoint_ids=found.endpoint_ids,
        filtered=found.filtered,
        hold_nano=first,
        least_nano=least,
        most_nano=most,
        completion_tokens_held=held.first.completion_tokens if most else 0,
        completion_tokens_least=held.least.completion_tokens,
        most=held.most,
        grows=held.grows and most > 0,
        starts=starts,
        price_class=price_class,
    )


def find_eligible(table: RoutingTable, request: InferenceRequest) -> Eligibility:
    """The endpoints that a planned call may use now; none if it should wait for a start.

    Raises ``ModelUnknown`` or ``NothingEligible`` if none will.
    """
    route = table.routes.get(request.model)
    if route is None:
        raise ModelUnknown(f"model {request.model!r} is no longer offered", param="model")
    found = _eligible(route, request)
    return found if found.endpoints else _startable(route, request, found).found


def make_ticket(
    plan: Plan,
    *,
    sizes: SizePredictor,
    tokens: TokenEstimates,
    histories: Histories,
    expires_s: float,
    excluded: frozenset[str],
) -> Ticket:
    """The plan as the scheduler sees it."""
    request = plan.request
    wishes = request.wishes
    features = size_features(request)
    model, tenant = plan.policy.model, plan.grant.organisation_id
    prefix = prefix_blocks(request)
    prompt_tokens = answer_tokens = 0.0
    generates = KINDS[request.kind].generates
    if generates:
        prompt_tokens = tokens.prompt(model, request.prompt_bytes)
        answer_tokens = tokens.answer(model, tenant, request.completion_tokens_asked)
    return Ticket(
        id=request.id,
        candidates=plan.endpoint_ids,
        policy=plan.policy,
        arrived_s=request.arrived_s,
        expires_s=expires_s,
        work=sizes.predict(model, features),
        features=features,
        prefix=prefix,
        session=session_of(request, tenant) if prefix else 0,
        prompt_bytes=request.prompt_bytes,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        answer_tokens_max=request.completion_tokens_asked,
        streams=request.stream and generates,
        priority=wishes.priority,
        yields=plan.price_class is PriceClass.BATCH,
        tenant=tenant,
        deadline_s=request.arrived_s + wishes.deadline_ms / 1e3 if wishes.deadline_ms else inf,
        sort=wishes.sort,
        preferred_s=expected_latency_s(wishes),
        penalty_s=penalties_s(plan.endpoints, request, plan.policy, histories),
        cost_nano=costs_nano(plan.endpoints, request) if wishes.sort is Sort.PRICE else NO_TERMS,
        excluded=excluded,
    )


def _arm(route: Route, request: InferenceRequest) -> Policy:
    """The policy in force, or the one on trial for its share of requests, drawn by request id."""
    canary = route.canary
    if canary is None or int(request.id[-8:], 16) >= canary.share * DRAWS:
        return route.policy
    return canary.policy


def _eligible(route: Route, request: InferenceRequest) -> Eligibility:
    """Without wishes, all calls of a kind have the same answer, which is kept in the route."""
    if request.wishes is not NO_WISHES or request.unsaid or request.needs:
        parameters = required_parameters(request)
        return eligibility(route.endpoints, request.kind, request.wishes, parameters)
    found = route.eligible.get(request.kind)
    if found is None:
        found = eligibility(route.endpoints, request.kind, NO_WISHES)
        route.eligible[request.kind] = found
    return found


def _startable(route: Route, request: InferenceRequest, found: Eligibility) -> Startable:
    """What the call may wait for. Raises why nothing may take it, if nothing is started for it.

    With another model to fall back to, a call waits for none.
    """
    if route.starts and not route.left_out and not request.fallbacks:
        parameters = required_parameters(request)
        startable_ = startable(
            route.deployments, route.starts, request.wishes, parameters, found.filtered
        )
        if startable_ is not None:
            return startable_
    raise _nothing_eligible(route, request, found)


def _bounded(request: InferenceRequest, route: Route) -> InferenceRequest:
    """Clamp the tokens that the call may generate, so that there is a most it can cost."""
    limit = route.model.completion_tokens_max
    asked = request.completion_tokens_asked
    each = min(asked or limit, limit) if limit else asked
    if not each:
        return request
    bound = msgspec.structs.replace(request.bound, completion_tokens=each * request.choices_asked)
    return msgspec.structs.replace(request, bound=bound)


def _dearest(prices: Sequence[Price], held: Usage) -> int:
    return max(hold_nano(price, held) for price in prices)


def _timed(request: InferenceRequest, hardware_max_s: float) -> InferenceRequest:
    """Bound the hardware time that the call is charged for; its deadline may shorten it."""
    longest_ms = int(hardware_max_s * 1e3)
    hardware_ms = min(request.wishes.deadline_ms or longest_ms, longest_ms)
    bound = msgspec.structs.replace(request.bound, hardware_ms=hardware_ms)
    return msgspec.structs.replace(request, bound=bound)


def _nothing_eligible(route: Route, request: InferenceRequest, found: Eligibility) -> CallError:
    if route.left_out:
        return NothingEligible(
            f"model {route.model.name!r} is not available here: {route.left_out}", param="model"
        )
    verdicts = {candidate.verdict for candidate in found.filtered}
    if verdicts == {Verdict.PROTOCOL}:
        return RequestInvalid(
            f"no worker of {route.model.name!r} speaks a protocol of {request.kind} calls; see the "
            "API tab of its page",
            param="model",
        )
    if verdicts and verdicts <= WISHES.keys():
        named = sorted(WISHES[verdict] for verdict in verdicts)
        if Verdict.TOO_DEAR in verdicts and request.wishes.max_fallback_price is not None:
            named.append("max_fallback_price")
        return NothingEligible(
            f"no provider of {route.model.name!r} fits the request's provider wishes; "
            f"loosen {', '.join(named)}",
            param="provider",
        )
    if route.model.own is not None:
        return OwnEndpointAway(
            f"no server of your organisation's endpoint {route.model.name!r} takes calls now, try "
            "again",
            retry_after_s=RETRY_AFTER_S,
        )
    return NothingEligible(
        f"no worker of {route.model.name!r} is available now, try again",
        retry_after_s=RETRY_AFTER_S,
    )
