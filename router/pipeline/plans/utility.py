"""Turns money and wishes into seconds of one score.

A policy says how many seconds a dollar is worth, so an endpoint loses the seconds of what it would
probably charge. A caller's ``order`` moves each later provider back by a step. Both lower a
candidate and never exclude it: exclusion was decided before (:mod:`.eligibility`).
"""

from collections.abc import Mapping, Sequence
from math import inf

from router.domain.catalog import Deployment, Endpoint, Policy
from router.domain.money import NANO_PER_USD
from router.domain.pricing import Usage, charge_nano
from router.domain.request import NO_WISHES, InferenceRequest, Percentiles, Wishes, percentiles
from router.pipeline.recorders.history import Histories, History
from router.scheduling.policies.late_binding import PREFERENCE_S
from router.scheduling.ticket import NO_TERMS

ORDER_STEP_S = 5.0
"""What each place in ``order`` costs: about a second of waiting at the default weight."""

COMPLETION_TOKENS_TYPICAL = 256
"""The expected length of an answer that the caller does not bound."""


PERCENTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}
EXPECTED = "p50"
"""The scheduler itself expects this latency, for the moment and the request at hand."""


def expected_latency_s(wishes: Wishes) -> float:
    """The longest wait that the caller wishes for in the usual case; infinite without a wish."""
    wish = wishes.preferred_max_latency
    return inf if wish is None else percentiles(wish).p50 or inf


def penalties_s(
    endpoints: Sequence[Endpoint],
    request: InferenceRequest,
    policy: Policy,
    histories: Histories,
) -> Mapping[str, float]:
    """Penalties in seconds, by endpoint id."""
    wishes = request.wishes
    if wishes is NO_WISHES and not policy.usd_weight_s:
        return NO_TERMS
    order = wishes.order
    measured = wishes.preferred_min_throughput or isinstance(
        wishes.preferred_max_latency, Percentiles
    )
    if not order and not measured and not policy.usd_weight_s:
        return NO_TERMS
    penalties = {
        endpoint.id: ORDER_STEP_S * _place(endpoint.deployment.provider, order)
        for endpoint in endpoints
    }
    if measured:
        for endpoint in endpoints:
            if _disappoints(histories.of(endpoint.deployment.id), wishes):
                penalties[endpoint.id] += PREFERENCE_S
    if policy.usd_weight_s:
        for endpoint_id, cost in costs_nano(endpoints, request).items():
            penalties[endpoint_id] += cost / NANO_PER_USD * policy.usd_weight_s
    return penalties


def costs_nano(endpoints: Sequence[Endpoint], request: InferenceRequest) -> Mapping[str, float]:
    """What each endpoint would probably charge for the call, in nano-USD by endpoint id."""
    completion = request.completion_tokens_asked or COMPLETION_TOKENS_TYPICAL
    usage = Usage(
        prompt_tokens=request.prompt_tokens,
        completion_tokens=min(completion * request.choices_asked, request.bound.completion_tokens),
        rows=request.bound.rows,
        images=request.bound.images,
    )
    return {endpoint.id: _cost_nano(endpoint.deployment, usage) for endpoint in endpoints}


def _cost_nano(deployment: Deployment, usage: Usage) -> float:
    """Charged time is the benchmarked service time."""
    price = deployment.price
    return charge_nano(price, usage) + price.second_nano * deployment.service_prior_ms / 1e3


def _disappoints(history: History, wishes: Wishes) -> bool:
    """Whether a deployment was lately slower than the caller wishes; without a history, no."""
    latency = percentiles(wishes.preferred_max_latency)
    throughput = percentiles(wishes.preferred_min_throughput)
    for name, share in PERCENTILES.items():
        most = None if name == EXPECTED else getattr(latency, name)
        least = getattr(throughput, name)
        if most is not None and (history.latency_s(share) or 0.0) > most:
            return True
        if least is not None and (history.tokens_per_s(share) or inf) < least:
            return True
    return False


def _place(provider: str, order: Sequence[str]) -> int:
    return order.index(provider) if provider in order else len(order)
