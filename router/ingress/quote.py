"""What a call would cost at most, as its plan has it: nothing runs and nothing is held."""

from msgspec import Struct, json

from router.domain.money import format_usd
from router.domain.pricing import hold_nano
from router.pipeline.plan import Plan

HEADER = b"x-route-quote"


class Quoted(Struct, frozen=True):
    """One deployment's part of a quote: the most that the call can cost there."""

    provider: str
    pool: str
    price_id: int
    most_nano_usd: int


class Quote(Struct, frozen=True):
    """Of a whole call. ``prompt_tokens`` are expected, those of ``most`` held for.

    With less credit than ``needs_nano_usd`` it is refused; ``most_nano_usd`` is the dearest
    provider's, whom failover may reach.
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
    """As JSON, the cheapest provider first."""
    most = plan.most
    deployments = {one.deployment.id: one.deployment for one in plan.endpoints}.values()
    offered = [
        Quoted(one.provider, one.pool, one.price.id, hold_nano(one.price, most))
        for one in deployments
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
        providers=sorted(offered, key=lambda one: (one.most_nano_usd, one.provider)),
    )
    return json.encode(quote)
