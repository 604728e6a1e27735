"""Grant and request → where the call may go, and the most that it may cost.

The plan says where a request *may* go; the scheduler says where it goes, and when.
"""

from math import inf

import msgspec
from msgspec import Struct

from router.contracts.record import CandidateRecord
from router.domain.catalog import Endpoint, Policy
from router.domain.errors import (
    CallError,
    ModelUnknown,
    NotAllowed,
    NothingEligible,
    RequestInvalid,
)
from router.domain.pricing import hold_nano
from router.domain.request import NO_WISHES, InferenceRequest, Sort
from router.pipeline.eligibility import Eligibility, eligibility
from router.pipeline.routing_table import Grant, Route, RoutingTable
from router.pipeline.sizing import prefix_blocks, size_features
from router.pipeline.utility import costs_nano, penalties_s
from router.scheduling.size import SizePredictor
from router.scheduling.ticket import NO_TERMS, Ticket

RETRY_AFTER_S = 5.0
SUFFIXES = {"floor": Sort.PRICE, "nitro": Sort.THROUGHPUT}


class Plan(Struct, frozen=True):
    """A call that may run. ``hold_nano`` covers the dearest endpoint that it could reach."""

    grant: Grant
    request: InferenceRequest
    policy: Policy
    endpoints: tuple[Endpoint, ...]
    endpoint_ids: tuple[str, ...]
    filtered: tuple[CandidateRecord, ...]
    hold_nano: int


def make_plan(table: RoutingTable, grant: Grant, request: InferenceRequest) -> Plan:
    """Raises ``ModelUnknown``, ``NotAllowed``, ``RequestInvalid`` or ``NothingEligible``."""
    route = table.routes.get(request.model)
    if route is None:
        request, route = _with_suffix(table, request)
    if route is None:
        raise ModelUnknown(
            f"model {request.model!r} does not exist; GET /v1/models lists those that do",
            param="model",
        )
    if grant.models and request.model not in grant.models:
        raise NotAllowed(f"this API key may not use model {request.model!r}", param="model")
    found = _eligible(route, request)
    if not found.endpoints:
        raise _nothing_eligible(route, found)
    request = _bounded(request, route)
    return Plan(
        grant=grant,
        request=request,
        policy=route.policy,
        endpoints=found.endpoints,
        endpoint_ids=found.endpoint_ids,
        filtered=found.filtered,
        hold_nano=max(hold_nano(price, request.bound) for price in found.prices),
    )


def make_ticket(
    plan: Plan, *, sizes: SizePredictor, expires_s: float, excluded: frozenset[str]
) -> Ticket:
    """The plan as the scheduler sees it."""
    request = plan.request
    wishes = request.wishes
    features = size_features(request)
    return Ticket(
        id=request.id,
        candidates=plan.endpoint_ids,
        policy=plan.policy,
        arrived_s=request.arrived_s,
        expires_s=expires_s,
        work=sizes.predict(plan.policy.model, features),
        features=features,
        prefix=prefix_blocks(request),
        priority=wishes.priority,
        tenant=plan.grant.organisation_id,
        deadline_s=request.arrived_s + wishes.deadline_ms / 1e3 if wishes.deadline_ms else inf,
        sort=wishes.sort,
        preferred_s=wishes.preferred_max_latency or inf,
        penalty_s=penalties_s(plan.endpoints, request, plan.policy),
        cost_nano=costs_nano(plan.endpoints, request) if wishes.sort is Sort.PRICE else NO_TERMS,
        excluded=excluded,
    )


def _with_suffix(
    table: RoutingTable, request: InferenceRequest
) -> tuple[InferenceRequest, Route | None]:
    """``author/slug:floor`` is the cheapest, ``author/slug:nitro`` the fastest."""
    name, _, suffix = request.model.rpartition(":")
    sort = SUFFIXES.get(suffix)
    if sort is None:
        return request, None
    wishes = msgspec.structs.replace(request.wishes, sort=request.wishes.sort or sort)
    request = msgspec.structs.replace(request, model=name, wishes=wishes)
    return request, table.routes.get(name)


def _eligible(route: Route, request: InferenceRequest) -> Eligibility:
    """Without wishes the answer is the same for every call of a kind: looked up, not worked out."""
    if request.wishes is not NO_WISHES:
        return eligibility(route.endpoints, request.kind, request.wishes)
    found = route.eligible.get(request.kind)
    if found is None:
        found = eligibility(route.endpoints, request.kind, NO_WISHES)
        route.eligible[request.kind] = found
    return found


def _bounded(request: InferenceRequest, route: Route) -> InferenceRequest:
    """Clamp what the call may generate, so that it has a highest price."""
    limit = route.model.completion_tokens_max
    asked = request.completion_tokens_asked
    each = min(asked or limit, limit) if limit else asked
    if not each:
        return request
    bound = msgspec.structs.replace(request.bound, completion_tokens=each * request.choices_asked)
    return msgspec.structs.replace(request, bound=bound)


def _nothing_eligible(route: Route, found: Eligibility) -> CallError:
    verdicts = {candidate.verdict for candidate in found.filtered}
    if verdicts == {"protocol"}:
        return RequestInvalid(
            f"model {route.model.name!r} is a {route.model.task} model and cannot be called this "
            "way; see the API tab of its page",
            param="model",
        )
    if verdicts and verdicts <= {"not_wanted", "ignored", "too_dear"}:
        return NothingEligible(
            f"no provider of {route.model.name!r} fits the request's provider wishes; "
            "loosen only, ignore, order or max_price",
            param="provider",
        )
    return NothingEligible(
        f"no worker of {route.model.name!r} is available now, try again",
        retry_after_s=RETRY_AFTER_S,
    )
