"""Rankings of models by use and by measured speed, and of applications by use."""

from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import models_published
from marketplace.usage.models import AppRanking, ModelRanking, RankingWindow

RANKED_MAX = 50
APPS_MAX = 20
CHARTED_MAX = 5
SAMPLES_MIN = 30
"""Completed calls that a model needs to be ranked by speed: a median of few says little."""


@dataclass(frozen=True, slots=True)
class By:
    """A column to rank by; with ``falls`` the highest comes first."""

    label: Promise
    column: str
    falls: bool
    is_speed: bool


BY = {
    "calls": By(_("Calls"), "calls", falls=True, is_speed=False),
    "tokens": By(_("Tokens"), "tokens", falls=True, is_speed=False),
    "ttft": By(_("First byte, p50"), "ttft_ms_p50", falls=False, is_speed=True),
    "latency": By(_("Whole call, p50"), "total_ms_p50", falls=False, is_speed=True),
    "throughput": By(_("Throughput"), "tokens_per_s", falls=True, is_speed=True),
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A ranked model; ``share`` is its value over the first one's, for a bar."""

    place: int
    model: AIModel
    figures: ModelRanking
    share: float


def ranking(by: By, window: RankingWindow, *, task: str = "") -> list[Ranked]:
    """The first models of a window, without unmeasured ones. Two queries."""
    models: QuerySet[AIModel] = models_published().order_by()
    if task:
        models = models.filter(task=task)
    rows = ModelRanking.objects.filter(window=window, model__in=models.values("name"))
    rows = rows.filter(**{f"{by.column}__gt": 0})
    if by.is_speed:
        rows = rows.filter(completed__gte=SAMPLES_MIN)
    key = F(by.column).desc() if by.falls else F(by.column).asc()
    first = list(rows.order_by(key, "model")[:RANKED_MAX])
    by_name = {model.name: model for model in models.filter(name__in=[row.model for row in first])}
    most = max((_value(row, by) for row in first), default=1.0)
    return [
        Ranked(place, by_name[row.model], row, _value(row, by) / most)
        for place, row in enumerate(first, start=1)
    ]


@dataclass(frozen=True, slots=True)
class RankedApp:
    """A ranked application; ``share`` as in :class:`Ranked`."""

    place: int
    figures: AppRanking
    share: float


def app_ranking(by: By, window: RankingWindow) -> list[RankedApp]:
    """The first applications of a window by calls or tokens. One query."""
    rows = AppRanking.objects.filter(window=window, **{f"{by.column}__gt": 0})
    first = list(rows.order_by(F(by.column).desc(), "app")[:APPS_MAX])
    most = max((_value(row, by) for row in first), default=1)
    return [
        RankedApp(place, row, _value(row, by) / most) for place, row in enumerate(first, start=1)
    ]


def _value(row: ModelRanking | AppRanking, by: By) -> Any:
    return getattr(row, by.column)
