"""Grant and request → where the call may go, and the most that it may cost.

The plan says where a request *may* go; the scheduler says where it goes, and when.
"""

import msgspec
from msgspec import Struct

from router.contracts.record import CandidateRecord
from router.domain.catalog import Endpoint
from router.domain.errors import (
    CallError,
    ModelUnknown,
    NotAllowed,
    NothingEligible,
    RequestInvalid,
)
from router.domain.pricing import hold_nano
from router.domain.request import NO_WISHES, InferenceRequest
from router.pipeline.authenticate import Grant
from router.pipeline.eligibility import Eligibility, eligibility
from router.pipeline.routing_table import Route, RoutingTable

RETRY_AFTER_S = 5.0


class Plan(Struct, frozen=True):
    """A call that may run. ``hold_nano`` covers the dearest endpoint that it could reach."""

    grant: Grant
    request: InferenceRequest
    policy: str
    endpoints: tuple[Endpoint, ...]
    endpoint_ids: tuple[str, ...]
    filtered: tuple[CandidateRecord, ...]
    hold_nano: int


def make_plan(table: RoutingTable, grant: Grant, request: InferenceRequest) -> Plan:
    """Raises ``ModelUnknown``, ``NotAllowed``, ``RequestInvalid`` or ``NothingEligible``."""
    route = table.routes.get(request.model)
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
    if verdicts and verdicts <= {"not_wanted", "ignored"}:
        return NothingEligible(
            f"no provider of {route.model.name!r} fits the request's provider wishes; "
            "loosen only, ignore or order",
            param="provider",
        )
    return NothingEligible(
        f"no worker of {route.model.name!r} is available now, try again",
        retry_after_s=RETRY_AFTER_S,
    )
