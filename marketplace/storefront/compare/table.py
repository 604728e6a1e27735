"""The table of the comparison: a row for each property, the best value marked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import Offer
from marketplace.catalog.prices import PER_UNIT, number_text
from marketplace.catalog.templatetags.units import duration, per_second, uptime, usd
from marketplace.storefront.browse.listing import Listing
from marketplace.usage.rollups.deployments import Measured


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    label: Promise
    cells: list[Cell]


NOTHING = "–"
PRICES: dict[str, Promise] = {
    "prompt_nano_per_million": _("Price, 1M tokens in"),
    "cached_nano_per_million": _("Price, 1M cached tokens in"),
    "completion_nano_per_million": _("Price, 1M tokens out"),
    "reasoning_nano_per_million": _("Price, 1M reasoning tokens"),
    "request_nano": _("Price of a call"),
    "image_nano": _("Price of an image"),
    "second_nano": _("Price of a second of hardware"),
}


def comparison(shown: Sequence[Listing], measured: Mapping[str, Measured]) -> list[Row]:
    """The rows; cells follow the order of the models. ``measured`` is by model name."""
    known = [measured.get(listing.model.name, Measured()) for listing in shown]
    rows = [
        _numbers(
            label, [getattr(listing.cheapest, name, None) or None for listing in shown], usd, min
        )
        for name, label in PRICES.items()
    ]
    rows += [
        _numbers(
            format_lazy("{} {}", _("Price"), per_units),
            [_of_units(listing.cheapest, unit, units) for listing in shown],
            usd,
            min,
        )
        for unit, (units, per_units) in PER_UNIT.items()
    ]
    contexts = [listing.model.context_tokens_max or None for listing in shown]
    rows += [
        _numbers(_("Context, tokens"), contexts, _whole, max),
        _numbers(_("First byte, p50"), [figures.ttft_ms_p50 for figures in known], duration, min),
        _numbers(_("Whole call, p50"), [figures.total_ms_p50 for figures in known], duration, min),
        _numbers(_("Whole call, p99"), [figures.total_ms_p99 for figures in known], duration, min),
        _numbers(_("Throughput"), [figures.tokens_per_s for figures in known], per_second, max),
        _numbers(_("Uptime"), [figures.uptime for figures in known], uptime, max),
        _texts(_("Calls measured"), [_whole(figures.completed) for figures in known]),
        _texts(_("Providers"), [", ".join(listing.providers) for listing in shown]),
        _texts(_("Hardware"), [" · ".join(listing.hardware) for listing in shown]),
        _texts(_("Supports"), [", ".join(listing.parameters) for listing in shown]),
        _texts(_("Data policy"), [_policy(listing) for listing in shown]),
        _texts(_("Licence"), [listing.model.license for listing in shown]),
    ]
    return [row for row in rows if any(cell.text != NOTHING for cell in row.cells)]


def _of_units(offer: Offer | None, unit: str, units: int) -> int | None:
    """The price of so many of a unit, if that is what the offer is priced by."""
    return units * offer.row_nano or None if offer is not None and offer.unit == unit else None


def best_of(values: Sequence[float | None], choose: Callable[..., Any]) -> float | None:
    """The best value by ``min`` or ``max``; None with fewer than two different values."""
    known = [value for value in values if value is not None]
    return choose(known) if len(set(known)) > 1 else None


def _numbers(
    label: Promise,
    values: Sequence[float | None],
    text: Callable[[Any], str],
    choose: Callable[..., Any],
) -> Row:
    best = best_of(values, choose)
    return Row(
        label,
        [
            Cell(NOTHING)
            if value is None
            else Cell(text(value), best is not None and value == best)
            for value in values
        ],
    )


def _texts(label: Promise, texts: Sequence[str]) -> Row:
    return Row(label, [Cell(text or NOTHING) for text in texts])


def _whole(value: float) -> str:
    return number_text(int(value), 0)


def _policy(listing: Listing) -> str:
    return str(_("keeps no data")) if listing.private else str(_("may keep data"))
