"""What is true of the installation now."""

from dataclasses import dataclass

from django.core.cache import caches
from django.utils import timezone

from marketplace.catalog.selectors import models_published
from marketplace.usage.models import DeploymentRollup, Span
from marketplace.usage.rollups.deployments import Measured, measured_sum
from marketplace.usage.windows import window_of

KEY, KEPT_S = "landing", 60
RANGE = "24h"


@dataclass(frozen=True, slots=True)
class Figures:
    """All customers' calls of the last day, and how many models can be called."""

    measured: Measured
    models: int


def figures_now() -> Figures:
    """The figures, at most a minute old."""
    kept: Figures | None = caches["process"].get(KEY)
    if kept is None:
        kept = _figures()
        caches["process"].set(KEY, kept, KEPT_S)
    return kept


def _figures() -> Figures:
    window = window_of({"range": RANGE}, timezone.now())
    rows = DeploymentRollup.objects.filter(
        span=Span.HOUR, starts_at__gte=window.start, starts_at__lt=window.until
    ).exclude(deployment_id=0)
    return Figures(measured_sum(list(rows)), models_published().count())
