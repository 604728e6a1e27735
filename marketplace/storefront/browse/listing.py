"""A model as a row of the catalog: its live offers and its measured figures."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.db.models import F, OrderBy, OuterRef, QuerySet, Subquery
from django.db.models.functions import Lower
from django.utils import timezone

from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus, Offer
from marketplace.catalog.selectors import (
    Priced,
    cheapest_of,
    is_served_over,
    models_published,
    priced_by_model,
)
from marketplace.storefront.browse.filters import RELEVANCE, TASKS_BY_MODALITY, Filters
from marketplace.storefront.browse.search import by_rank, search, search_alike
from marketplace.storefront.browse.sparkline import Sparkline, sparkline
from marketplace.usage.models import ModelFigures
from marketplace.usage.rollups.deployments import mean_ms_by_step
from marketplace.usage.windows import window_of
from router.domain.money import NANO_PER_USD

EMULATED_SUFFIX = " (emulated)"


@dataclass(frozen=True, slots=True)
class Listing:
    """A row; ``measured`` is None if nobody called the model in the last day.

    ``trend`` is of that day too, in the catalog alone.
    """

    model: AIModel
    priced: tuple[Priced, ...]
    measured: ModelFigures | None
    trend: Sparkline | None = None

    @property
    def cheapest(self) -> Offer | None:
        """The offer with the lowest price of a typical call."""
        return cheapest_of(self.priced)

    @property
    def hardware(self) -> list[str]:
        """The kinds of hardware it runs on, without duplicates."""
        return sorted({p.deployment.pool.hardware for p in self.priced})

    @property
    def hardware_short(self) -> list[str]:
        """The same without the word that the badge of an emulated model says."""
        if not self.model.emulated:
            return self.hardware
        return [name.removesuffix(EMULATED_SUFFIX) for name in self.hardware]

    @property
    def providers(self) -> list[str]:
        """The slugs of its providers."""
        return sorted({p.deployment.provider.slug for p in self.priced})

    @property
    def parameters(self) -> list[str]:
        """The request fields that a provider of it supports, without duplicates."""
        return sorted({name for p in self.priced for name in p.deployment.supported_parameters})

    @property
    def left_out(self) -> str:
        """Why it cannot be called, if none of its workers could be started; else ""."""
        workers = {worker for p in self.priced for worker in p.deployment.pool.workers.all()}
        reasons = [w.left_out for w in workers if is_served_over(self.model, w.protocol)]
        return min(reasons) if reasons and all(reasons) else ""

    @property
    def private(self) -> bool:
        """Whether a provider offers it without keeping prompts or answers."""
        return any(not p.deployment.collects_data for p in self.priced)


def listings(rows: Iterable[AIModel]) -> list[Listing]:
    """The rows of these models, in a fixed number of queries."""
    models = list(rows)
    by_model = priced_by_model(models)
    measured = ModelFigures.objects.in_bulk([model.name for model in models])
    return [
        Listing(model, tuple(by_model.get(model.pk, ())), measured.get(model.name))
        for model in models
    ]


def with_trends(rows: Iterable[Listing]) -> list[Listing]:
    """The same rows with their `Listing.trend`. One query."""
    shown = list(rows)
    day = window_of({"range": "24h"}, timezone.now())
    means = mean_ms_by_step([row.model.name for row in shown], day)
    return [replace(row, trend=sparkline(means.get(row.model.name, ()))) for row in shown]


_TYPICAL_PRICE = (
    (F("prompt_nano_per_million") + F("completion_nano_per_million")) / 1000
    + F("request_nano")
    + F("row_nano")
    + F("image_nano")
    + F("second_nano")
)
"""`typical_price` as a database expression."""
BOUND_CALLS = 1_000
"""A price filter is for this many typical calls: a million tokens each way, a thousand rows."""


def price_bound(price_usd: Decimal) -> int:
    """The greatest typical price in nano-USD if ``BOUND_CALLS`` calls cost ``price_usd``."""
    return int(price_usd * NANO_PER_USD / BOUND_CALLS)


def matching(filters: Filters) -> QuerySet[AIModel]:
    """Published models that match the filters, except for the search words."""
    models = models_published().order_by()
    if filters.tasks:
        models = models.filter(task__in=filters.tasks)
    if filters.modalities:
        tasks = [task for name in filters.modalities for task in TASKS_BY_MODALITY[name]]
        models = models.filter(task__in=tasks)
    if filters.context_min:
        models = models.filter(context_tokens_max__gte=filters.context_min)
    if filters.kind:
        models = models.filter(emulated=filters.kind == "emulated")
    if filters.measured:
        models = models.filter(name__in=ModelFigures.objects.values("model"))
    if (offers := _offered(filters)) is not None:
        models = models.filter(pk__in=offers.values("version__model"))
    return models


def _offered(filters: Filters) -> QuerySet[Any] | None:
    """Live, priced deployments that match the filters; None if no filter is on deployments."""
    asked: dict[str, Any] = {}
    if filters.providers:
        asked["provider__slug__in"] = filters.providers
    if filters.hardware:
        asked["pool__hardware__in"] = filters.hardware
    if filters.parameters:
        asked["supported_parameters__contains"] = list(filters.parameters)
    if filters.private:
        asked["collects_data"] = False
    if filters.price_max is not None:
        asked["price__lte"] = price_bound(filters.price_max)
    return _priced().filter(price__isnull=False, **asked) if asked else None


def _priced() -> QuerySet[Any]:
    """Live deployments with the typical ``price`` of the offer in force."""
    newest = Offer.objects.filter(
        deployment=OuterRef("pk"), effective_at__lte=timezone.now()
    ).order_by("-effective_at", "-id")
    live: QuerySet[Any] = Deployment.objects.filter(status=DeploymentStatus.LIVE).order_by()
    return live.annotate(price=Subquery(newest.values(price=_TYPICAL_PRICE)[:1]))


def found(filters: Filters) -> tuple[QuerySet[AIModel], bool]:
    """The models in order, and whether they are only similar to the words as none has them."""
    models = matching(filters)
    if not filters.words:
        return sort_models(models, filters.order), False
    held = search(models, filters.words)
    if held.exists():
        return sort_models(held, filters.order), False
    return by_rank(search_alike(models, filters.words)), True


def sort_models(models: QuerySet[AIModel], order: str) -> QuerySet[AIModel]:
    """Sort by one of ``filters.SORTS``; models without the figure come last."""
    name = (F("emulated"), Lower("display_name"), F("pk"))
    if order == RELEVANCE:
        return by_rank(models)
    if order == "newest":
        return models.order_by("-created_at", "-pk")
    if order == "context":
        return models.order_by("-context_tokens_max", *name)
    if order == "price":
        cheapest = _priced().filter(version__model=OuterRef("pk"), price__isnull=False)
        models = models.alias(by=Subquery(cheapest.order_by("price").values("price")[:1]))
        return models.order_by(F("by").asc(nulls_last=True), *name)
    if order in FIGURES:
        column, falls = FIGURES[order]
        # 0 means "not measured": without streams there is no time to first byte.
        known = ModelFigures.objects.filter(**{"model": OuterRef("name"), f"{column}__gt": 0})
        by = known.values(column)
        key = OrderBy(F("by"), descending=falls, nulls_last=True)
        return models.alias(by=Subquery(by)).order_by(key, *name)
    return models.order_by(*name)


FIGURES = {
    "speed": ("ttft_ms_p50", False),
    "throughput": ("tokens_per_s", True),
    "use": ("calls", True),
}
"""Sorts by a figure of the last day, and whether they are descending."""
