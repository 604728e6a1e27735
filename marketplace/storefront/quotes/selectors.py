"""Quotes a call at every provider's price in force."""

from dataclasses import dataclass

from marketplace.catalog.models import AIModel, Deployment
from marketplace.catalog.prices import price_of
from marketplace.catalog.selectors import deployments_live
from router.domain.pricing import ChargeLine, Price, Usage, charge_lines, charge_nano


@dataclass(frozen=True, slots=True)
class Quote:
    """The charge of a call with exactly this usage, and its lines."""

    deployment: Deployment
    price: Price
    lines: tuple[ChargeLine, ...]
    charge_nano: int


def quotes_of(model: AIModel, usage: Usage) -> list[Quote]:
    """The quotes of all deployments, cheapest first."""
    quotes = []
    for deployment in deployments_live(model):
        offer = next(iter(deployment.offers.all()), None)
        if offer is None:
            continue
        price = price_of(offer)
        lines = tuple(charge_lines(price, usage))
        quotes.append(Quote(deployment, price, lines, charge_nano(price, usage)))
    return sorted(quotes, key=lambda quote: (quote.charge_nano, quote.deployment.pk))
