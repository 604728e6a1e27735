"""Grant and request → where the call may go, and the most that it may cost.

The plan says where a request *may* go; the scheduler says where it goes, and when.
"""

import msgspec
from msgspec import Struct

from router.contracts.record import CandidateRecord
from router.domain.catalog import Endpoint
from router.domain.errors import ModelUnknown, NotAllowed, NothingEligible, RequestInvalid
from router.domain.pricing import hold_nano
from router.domain.request import InferenceRequest, Kind
from router.pipeline.authenticate import Grant
from router.pipeline.routing_table import Route, RoutingTable

KINDS = {
    "openai": frozenset({Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING}),
    "oip": frozenset({Kind.INFER, Kind.EMBEDDING}),
}
"""What a worker of a protocol can be asked for."""

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
    request = _bounded(request, route)
    eligible: list[Endpoint] = []
    filtered: list[CandidateRecord] = []
    for endpoint in route.endpoints:
        verdict = _objection(request, endpoint)
        if verdict:
            filtered.append(_filtered(endpoint, verdict))
        else:
            eligible.append(endpoint)
    if not eligible:
        raise _nothing_eligible(route, filtered)
    return Plan(
        grant=grant,
        request=request,
        policy=route.policy,
        endpoints=tuple(eligible),
        endpoint_ids=tuple(endpoint.id for endpoint in eligible),
        filtered=tuple(filtered),
        hold_nano=max(hold_nano(e.deployment.price, request.bound) for e in eligible),
    )


def _bounded(request: InferenceRequest, route: Route) -> InferenceRequest:
    """Clamp what the call may generate, so that it has a highest price."""
    limit = route.model.completion_tokens_max
    asked = request.completion_tokens_asked
    each = min(asked or limit, limit) if limit else asked
    if not each:
        return request
    bound = msgspec.structs.replace(request.bound, completion_tokens=each * request.choices_asked)
    return msgspec.structs.replace(request, bound=bound)


def _objection(request: InferenceRequest, endpoint: Endpoint) -> str:
    """Why an endpoint may not take the request, or ""."""
    worker, provider, wishes = endpoint.worker, endpoint.deployment.provider, request.wishes
    if request.kind not in KINDS[worker.protocol]:
        return "protocol"
    if worker.draining:
        return "draining"
    if not worker.healthy:
        return "unhealthy"
    if wishes.only and provider not in wishes.only:
        return "not_wanted"
    if provider in wishes.ignore:
        return "ignored"
    if wishes.order and not wishes.allow_fallbacks and provider not in wishes.order:
        return "not_wanted"
    return ""


def _filtered(endpoint: Endpoint, verdict: str) -> CandidateRecord:
    return CandidateRecord(
        deployment_id=endpoint.deployment.id,
        worker_id=endpoint.worker.id,
        pool=endpoint.pool.name,
        verdict=verdict,
        wait_ms=0.0,
        service_ms=0.0,
        score=0.0,
    )


def _nothing_eligible(route: Route, filtered: list[CandidateRecord]) -> Exception:
    verdicts = {candidate.verdict for candidate in filtered}
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
