"""Money and wishes as seconds of one score.

A policy says how many seconds a dollar is worth; an endpoint is set back by what it would probably
charge. A caller's ``order`` sets each later provider back by a step. Both lower a candidate and
never exclude it: who may not be used at all was decided before (:mod:`.eligibility`).
"""

from collections.abc import Mapping, Sequence

from router.domain.catalog import Endpoint, Policy
from router.domain.money import NANO_PER_USD
from router.domain.pricing import Usage, charge_nano
from router.domain.request import InferenceRequest
from router.scheduling.ticket import NO_TERMS

ORDER_STEP_S = 5.0
"""What each place in ``order`` counts for: about a second of waiting at the default weight."""

COMPLETION_TOKENS_TYPICAL = 256
"""What an answer is taken for when the caller does not bound it."""


def penalties_s(
    endpoints: Sequence[Endpoint], request: InferenceRequest, policy: Policy
) -> Mapping[str, float]:
    """Seconds by endpoint id."""
    order = request.wishes.order
    if not order and not policy.usd_weight_s:
        return NO_TERMS
    penalties = {
        endpoint.id: ORDER_STEP_S * _place(endpoint.deployment.provider, order)
        for endpoint in endpoints
    }
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
    return {
        endpoint.id: float(charge_nano(endpoint.deployment.price, usage)) for endpoint in endpoints
    }


def _place(provider: str, order: Sequence[str]) -> int:
    return order.index(provider) if provider in order else len(order)
