"""The chart of price against measured speed, over all models that have both."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from marketplace.catalog.models import AIModel, Offer
from marketplace.catalog.prices import PER_UNIT
from marketplace.catalog.selectors import models_published
from marketplace.catalog.templatetags.units import dollars, duration, per_second, significant, usd
from marketplace.storefront.browse.listing import listings
from marketplace.storefront.rankings.selectors import SAMPLES_MIN
from marketplace.storefront.scatter import Axis, Point, Scatter, scatter
from marketplace.usage.models import ModelRanking, RankingWindow
from router.domain.money import NANO_PER_USD

POINTS_MIN = 2
POINTS_MAX = 100
"""Of more models, those that are called most: nobody reads more names in a picture."""
TOKENS_IN, TOKENS_OUT = 3, 1
"""A chat reads about three tokens for each that it writes: the mixture that prices are told for."""

Priced = tuple[AIModel, ModelRanking, Offer]


def price_and_speed(window: RankingWindow, task: str = "") -> Scatter | None:
    """Models by the cheapest provider's price; None with fewer than two. A fixed number of queries.

    By tokens a second where answers are priced in tokens; a task whose calls are priced otherwise
    is shown by its latency if it is asked for.
    """
    known = list(_known(window, task))
    return _by_tokens(known) or (_by_units(known) if task else None)


def _by_tokens(known: Sequence[Priced]) -> Scatter | None:
    points = [
        Point(
            figures.tokens_per_s,
            blended_nano(offer) / NANO_PER_USD,
            **_named(model, f"{usd(blended_nano(offer))}, {per_second(figures.tokens_per_s)}"),
        )
        for model, figures, offer in known
        if figures.tokens_per_s and _is_by_tokens(offer)
    ]
    x = Axis(_("tokens a second →"), significant)
    y = Axis(_("1M tokens, three in for one out ↑"), dollars)
    return scatter(points, x, y) if len(points) >= POINTS_MIN else None


def _by_units(known: Sequence[Priced]) -> Scatter | None:
    unit = next((offer.unit for _model, _figures, offer in known if offer.row_nano), "")
    units, per_units = PER_UNIT.get(unit, (1, ""))
    points = [
        Point(
            figures.total_ms_p50,
            units * offer.row_nano / NANO_PER_USD,
            **_named(
                model,
                f"{usd(units * offer.row_nano)} {per_units}, {duration(figures.total_ms_p50)}",
            ),
        )
        for model, figures, offer in known
        if offer.unit == unit and offer.row_nano and figures.total_ms_p50
    ]
    x = Axis(_("median latency of a call →"), lambda value: duration(value, "0"))
    y = Axis(f"{per_units} ↑", dollars)
    return scatter(points, x, y) if len(points) >= POINTS_MIN else None


def blended_nano(offer: Offer) -> int:
    """Nano-USD for a million tokens of the usual mixture."""
    priced = (
        TOKENS_IN * offer.prompt_nano_per_million + TOKENS_OUT * offer.completion_nano_per_million
    )
    return priced // (TOKENS_IN + TOKENS_OUT)


def _is_by_tokens(offer: Offer) -> bool:
    """Whether tokens are all that is charged."""
    return not (offer.request_nano or offer.row_nano or offer.image_nano or offer.second_nano)


def _known(window: RankingWindow, task: str) -> Iterator[Priced]:
    models = models_published().order_by()
    if task:
        models = models.filter(task=task)
    rows = ModelRanking.objects.filter(window=window, completed__gte=SAMPLES_MIN)
    most = rows.filter(model__in=models.values("name")).order_by("-calls", "model")[:POINTS_MAX]
    by_name = {row.model: row for row in most}
    for listing in listings(models.filter(name__in=by_name)):
        if (offer := listing.cheapest) is not None:
            yield listing.model, by_name[listing.model.name], offer


def _named(model: AIModel, figures: str) -> dict[str, Any]:
    """What a point says of its model. Emulated ones have a marker of their own."""
    return {
        "series": int(model.emulated),
        "label": model.display_name,
        "title": f"{model.display_name}: {figures}",
        "url": reverse("model", args=[model.author, model.slug]),
    }
