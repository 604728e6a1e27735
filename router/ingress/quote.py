"""The most that a call would cost, from its plan. Nothing runs and nothing is held."""

from msgspec import Struct, json

from router.domain.money import format_usd
from router.domain.pricing import hold_nano
from router.pipeline.plans.plan import Plan

HEADER = b"x-route-quote"


class Quoted(Struct, frozen=True):
    """The most that the call can cost at one deployment."""

    provider: str
    pool: str
    price_id: int
    most_nano_usd: int


class Quote(Struct, frozen=True):
    """The quote of a whole call.

    ``prompt_tokens`` is the expected number; credit is held for ``most_prompt_tokens``. With less
    credit than ``needs_nano_usd`` the call is refused. ``most_nano_usd`` is for the dearest
    provider, since failover may reach it.
    """

    model: str
    prompt_tokens: int
    most_prompt_tokens: int
    most_completion_tokens: int
    rows: int
    images: int
    needs_nano_usd: int
    most_nano_usd: int
    most_usd: str
    providers: list[Quoted]


def quote_of(plan: Plan, prompt_tokens: int) -> bytes:
    """The quote as JSON, the cheapest provider first."""
    most = plan.most
    deployments = {
        endpoint.deployment.id: endpoint.deployment for endpoint in plan.endpoints
    }.values()
    offered = [
        Quoted(
            deployment.provider,
            deployment.pool,
            deployment.price.id,
            hold_nano(plan.price(deployment), most),
        )
        for deployment in deployments
    ]
    quote = Quote(
        model=plan.request.model,
        prompt_tokens=prompt_tokens,
        most_prompt_tokens=most.prompt_tokens,
        most_completion_tokens=most.completion_tokens,
        rows=most.rows,
        images=most.images,
        needs_nano_usd=plan.least_nano,
        most_nano_usd=plan.most_nano,
        most_usd=format_usd(plan.most_nano),
        providers=sorted(offered, key=lambda quoted: (quoted.most_nano_usd, quoted.provider)),
    )
    return json.encode(quote)
