"""Which endpoints of a route may take a kind of call at all, and why the others may not."""

from collections.abc import Iterable

from msgspec import Struct

from router.contracts.record import CandidateRecord
from router.domain.catalog import Endpoint
from router.domain.money import NANO_PER_USD
from router.domain.pricing import Price
from router.domain.request import Kind, MaxPrice, Wishes

KINDS = {
    "openai": frozenset({Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING}),
    "oip": frozenset({Kind.INFER, Kind.EMBEDDING}),
    "oip_grpc": frozenset({Kind.INFER, Kind.EMBEDDING}),
}
"""What a worker of a protocol can be asked for."""


class Eligibility(Struct, frozen=True):
    """The endpoints that may be used, their ids and distinct prices, and the ones left out."""

    endpoints: tuple[Endpoint, ...]
    endpoint_ids: tuple[str, ...]
    prices: tuple[Price, ...]
    filtered: tuple[CandidateRecord, ...]


def eligibility(endpoints: Iterable[Endpoint], kind: Kind, wishes: Wishes) -> Eligibility:
    """Sort the endpoints of a route into those that may take the call and those that may not."""
    eligible: list[Endpoint] = []
    filtered: list[CandidateRecord] = []
    for endpoint in endpoints:
        verdict = _objection(endpoint, kind, wishes)
        if verdict:
            filtered.append(_filtered(endpoint, verdict))
        else:
            eligible.append(endpoint)
    prices = {endpoint.deployment.price.id: endpoint.deployment.price for endpoint in eligible}
    return Eligibility(
        endpoints=tuple(eligible),
        endpoint_ids=tuple(endpoint.id for endpoint in eligible),
        prices=tuple(prices.values()),
        filtered=tuple(filtered),
    )


def _objection(endpoint: Endpoint, kind: Kind, wishes: Wishes) -> str:
    """Why an endpoint may not take the request, or ""."""
    worker, provider = endpoint.worker, endpoint.deployment.provider
    if kind not in KINDS[worker.protocol]:
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
    if wishes.max_price is not None and _is_dearer(endpoint.deployment.price, wishes.max_price):
        return "too_dear"
    return ""


def _is_dearer(price: Price, most: MaxPrice) -> bool:
    """Whether any of the named prices is above the caller's limit, which is in dollars."""
    limits = (
        (price.prompt_nano_per_million, most.prompt),
        (price.completion_nano_per_million, most.completion),
        (price.request_nano, most.request),
        (price.image_nano, most.image),
    )
    return any(limit is not None and nano > limit * NANO_PER_USD for nano, limit in limits)


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
