"""Which endpoints of a route may take a kind of call at all, and why the others may not."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from router.contracts.record import CandidateRecord
from router.domain.catalog import OWN, RESPONSES, Deployment, Endpoint, Worker
from router.domain.money import NANO_PER_USD
from router.domain.pricing import Price
from router.domain.protocols import PROTOCOL_KINDS
from router.domain.request import DataCollection, InferenceRequest, Kind, MaxPrice, Wishes
from router.domain.verdict import Verdict

BASIC = frozenset(
    {"messages", "metadata", "model", "models", "input", "prompt", "provider", "stream"}
    | {"stream_options", "user", "session_id", "prompt_cache_key"}
)
"""Request fields that every worker of a kind acts on, or that are only for the router."""

SPEAKS_RESPONSES = frozenset({RESPONSES})


class Eligibility(Struct, frozen=True):
    """The endpoints that may be used, their ids and distinct prices, and those left out.

    ``by_the_second`` says that at least one price is per second of hardware.
    """

    endpoints: tuple[Endpoint, ...]
    endpoint_ids: tuple[str, ...]
    prices: tuple[Price, ...]
    filtered: tuple[CandidateRecord, ...]
    by_the_second: bool


class Startable(Struct, frozen=True):
    """What a call may wait for: the prices that it may be charged by, and no endpoint yet.

    ``pools`` has the pools where a worker is started, with the seconds that it takes.
    """

    found: Eligibility
    pools: Mapping[str, float]


def eligibility(
    endpoints: Iterable[Endpoint],
    kind: Kind,
    wishes: Wishes,
    parameters: frozenset[str] = frozenset(),
) -> Eligibility:
    """Sort the endpoints of a route into those that may take the call and those that may not.

    ``parameters`` are the request fields that a worker must act on.
    """
    eligible: list[Endpoint] = []
    filtered: list[CandidateRecord] = []
    for endpoint in endpoints:
        verdict = _unusable(endpoint.worker, kind) or _unwanted(
            endpoint.deployment, wishes, parameters
        )
        if verdict is not None:
            filtered.append(_filtered(endpoint, verdict))
        else:
            eligible.append(endpoint)
    return _eligible(eligible, (endpoint.deployment for endpoint in eligible), tuple(filtered))


def _eligible(
    endpoints: Sequence[Endpoint],
    deployments: Iterable[Deployment],
    filtered: tuple[CandidateRecord, ...],
) -> Eligibility:
    prices = {deployment.price.id: deployment.price for deployment in deployments}
    return Eligibility(
        endpoints=tuple(endpoints),
        endpoint_ids=tuple(endpoint.id for endpoint in endpoints),
        prices=tuple(prices.values()),
        filtered=filtered,
        by_the_second=any(price.second_nano for price in prices.values()),
    )


def startable(
    route_deployments: Iterable[Deployment],
    starts: Mapping[str, float],
    wishes: Wishes,
    parameters: frozenset[str],
    filtered: tuple[CandidateRecord, ...],
) -> Startable | None:
    """What a call waits for that no endpoint may take now; None if nothing is started for it."""
    unfit = {item.pool for item in filtered if item.verdict == Verdict.PROTOCOL}
    wanted = [
        deployment
        for deployment in route_deployments
        if deployment.pool not in unfit and _unwanted(deployment, wishes, parameters) is None
    ]
    pools = {name.pool: starts[name.pool] for name in wanted if name.pool in starts}
    return Startable(_eligible((), wanted, filtered), pools) if pools else None


def required_parameters(request: InferenceRequest) -> frozenset[str]:
    """The fields of a request that a worker must act on: those that it needs, and all if its caller
    asks for that.

    One that no chat can say needs a worker that speaks responses, whoever asks.
    """
    needed = request.needs.union(SPEAKS_RESPONSES) if request.unsaid else request.needs
    if not request.wishes.require_parameters:
        return needed
    return needed.union(request.fields).difference(BASIC)


def _unusable(worker: Worker, kind: Kind) -> Verdict | None:
    """Why a worker can take no such request now, or None."""
    if kind not in PROTOCOL_KINDS[worker.protocol]:
        return Verdict.PROTOCOL
    if worker.left_out:
        return Verdict.LEFT_OUT
    if worker.draining:
        return Verdict.DRAINING
    return None if worker.healthy else Verdict.UNHEALTHY


def _unwanted(deployment: Deployment, wishes: Wishes, parameters: frozenset[str]) -> Verdict | None:
    """The caller's wish that rules a deployment out, or None.

    What an organisation has of its own it knows itself: only its name counts.
    """
    unwanted = leaves_out(wishes, deployment.provider)
    if unwanted is None and RESPONSES in parameters.difference(deployment.parameters):
        return Verdict.PARAMETERS
    if unwanted is not None or deployment.provider == OWN:
        return unwanted
    if wishes.max_price is not None and _is_dearer(deployment.price, wishes.max_price):
        return Verdict.TOO_DEAR
    if wishes.quantizations and deployment.quantization not in wishes.quantizations:
        return Verdict.QUANTIZATION
    if wishes.data_collection is DataCollection.DENY and deployment.collects_data:
        return Verdict.DATA_COLLECTION
    return None if parameters.issubset(deployment.parameters) else Verdict.PARAMETERS


def leaves_out(wishes: Wishes, provider: str) -> Verdict | None:
    """The wish about providers by name that rules one out, or None."""
    if wishes.only and provider not in wishes.only:
        return Verdict.NOT_WANTED
    if provider in wishes.ignore:
        return Verdict.IGNORED
    if wishes.order and not wishes.allow_fallbacks and provider not in wishes.order:
        return Verdict.NOT_WANTED
    return None


def _is_dearer(price: Price, most: MaxPrice) -> bool:
    """Whether any price is above the caller's limit, which is in dollars.

    That of a prompt is one of its cached tokens too, and that of an answer one of its thoughts.
    """
    limits = (
        (max(price.prompt_nano_per_million, price.cached_nano_per_million), most.prompt),
        (max(price.completion_nano_per_million, price.reasoning_nano_per_million), most.completion),
        (price.request_nano, most.request),
        (price.image_nano, most.image),
    )
    return any(limit is not None and nano > limit * NANO_PER_USD for nano, limit in limits)


def _filtered(endpoint: Endpoint, verdict: Verdict) -> CandidateRecord:
    return CandidateRecord(
        deployment_id=endpoint.deployment.id,
        worker_id=endpoint.worker.id,
        pool=endpoint.pool.name,
        verdict=verdict,
        wait_ms=0.0,
        service_ms=0.0,
        score=0.0,
    )
