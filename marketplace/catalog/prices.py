"""Prices: the value to charge by, and texts for pages, invoices and quotes."""

from decimal import Decimal

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.catalog.models import Offer
from router.domain.money import NANO_PER_USD
from router.domain.pricing import MS_PER_SECOND, TOKENS_PER_MILLION, Price

ITEMS: dict[str, Promise] = {
    "prompt_tokens": gettext_lazy("Prompt tokens"),
    "cached_tokens": gettext_lazy("Cached prompt tokens"),
    "completion_tokens": gettext_lazy("Answer tokens"),
    "reasoning_tokens": gettext_lazy("Reasoning tokens"),
    "requests": gettext_lazy("Calls"),
    "rows": gettext_lazy("Rows"),
    "search_units": gettext_lazy("Search units"),
    "inputs": gettext_lazy("Inputs"),
    "characters": gettext_lazy("Characters"),
    "audio_seconds": gettext_lazy("Seconds of sound"),
    "images": gettext_lazy("Images"),
    "hardware_ms": gettext_lazy("Seconds of hardware"),
}
"""Labels by the item of a :class:`~router.domain.pricing.ChargeLine`."""
PER_UNIT: dict[str, tuple[int, Promise]] = {
    "rows": (1_000_000, gettext_lazy("per 1M rows")),
    "search_units": (1_000, gettext_lazy("per 1K search units")),
    "inputs": (1_000_000, gettext_lazy("per 1M inputs")),
    "characters": (1_000_000, gettext_lazy("per 1M characters")),
    "audio_seconds": (3_600, gettext_lazy("per hour of sound")),
}
"""By an offer's unit, how many of them a price is told for: people cannot read that of one."""
READABLE_NANO = 1_000_000
"""A price of one unit below a tenth of a cent is told for a million of them."""
DECIMALS_MIN, DECIMALS_MAX = 2, 6


def price_of(offer: Offer) -> Price:
    """The router's price value of a published offer."""
    return Price(
        id=offer.pk,
        prompt_nano_per_million=offer.prompt_nano_per_million,
        cached_nano_per_million=offer.cached_nano_per_million,
        completion_nano_per_million=offer.completion_nano_per_million,
        reasoning_nano_per_million=offer.reasoning_nano_per_million,
        request_nano=offer.request_nano,
        row_nano=offer.row_nano,
        image_nano=offer.image_nano,
        second_nano=offer.second_nano,
        effective_at_ms=int(offer.effective_at.timestamp() * 1000),
        batch_discount_bps=offer.batch_discount_bps,
        unit=offer.unit,
    )


def typical_price(offer: Offer) -> int:
    """The price to sort offers by: 1,000 tokens each way, a request, a row, an image, a second."""
    tokens = (offer.prompt_nano_per_million + offer.completion_nano_per_million) // 1000
    return tokens + offer.request_nano + offer.row_nano + offer.image_nano + offer.second_nano


def quantity_text(item: str, quantity: int) -> str:
    """A quantity in the unit that its label names."""
    if item == "hardware_ms":
        return number_text(Decimal(quantity) / MS_PER_SECOND, 3)
    return number_text(quantity, 0)


def unit_price_text(unit_nano: int, per: int) -> str:
    """The exact price of one unit, or of a million."""
    if per == 1 and 0 < unit_nano < READABLE_NANO:
        unit_nano, per = unit_nano * TOKENS_PER_MILLION, TOKENS_PER_MILLION
    price = usd_exact(unit_nano)
    return _("%(price)s per 1M") % {"price": price} if per == TOKENS_PER_MILLION else price


def usd_text(amount_nano: int | Decimal, decimals: int = DECIMALS_MAX) -> str:
    """Dollars with ``decimals`` decimals, rounded half-even, in the reader's notation."""
    dollars = round(abs(Decimal(amount_nano)) / NANO_PER_USD, decimals)
    sign = "−" if amount_nano < 0 and dollars else ""
    return f"{sign}${number_text(dollars, decimals)}"


def usd_exact(amount_nano: int) -> str:
    """Dollars with all decimals that there are, in the reader's notation."""
    return usd_text(amount_nano, decimals_needed(amount_nano, most=9))


def decimals_needed(*amounts_nano: int, most: int = DECIMALS_MAX) -> int:
    """How many decimals show all of these exactly, from two up to ``most``."""
    needed = DECIMALS_MIN
    for amount in amounts_nano:
        digits = f"{abs(amount) % NANO_PER_USD:09d}".rstrip("0")
        needed = max(needed, len(digits))
    return min(needed, most)


def number_text(value: Decimal | float, decimals: int) -> str:
    """A number with its thousands apart, in the reader's notation.

    Django truncates digits, so it is rounded here first.
    """
    rounded = round(Decimal(value), decimals)
    return str(number_format(rounded, decimal_pos=decimals, use_l10n=True, force_grouping=True))
