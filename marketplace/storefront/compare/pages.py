"""Compares up to four models, with cost and latency of the reader's workload on each."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from marketplace.catalog.models import Task
from marketplace.catalog.selectors import models_published
from marketplace.catalog.templatetags.units import dollars, duration, usd
from marketplace.storefront.browse.filters import COMPARED_MAX, chosen_of
from marketplace.storefront.browse.listing import Listing, listings
from marketplace.storefront.browse.pages import absolute
from marketplace.storefront.compare.table import best_of, comparison
from marketplace.storefront.compare.workload import (
    BOUNDS,
    FIELDS_BY_TASK,
    Estimate,
    Workload,
    estimates,
    pairs,
    workload_of,
)
from marketplace.storefront.scatter import Axis, Point, scatter
from marketplace.usage.models import DeploymentRollup
from marketplace.usage.rollups.deployments import Measured, measured_by, rollups_in
from marketplace.usage.windows import window_of
from router.domain.money import NANO_PER_USD

MEASURED_RANGE = "7d"
LETTERS = "ABCD"
SLIDER_STEPS = 1_000


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """The comparison of ``?m=…&m=…`` under the workload in the same query."""
    names, workload = chosen_of(request.GET), workload_of(request.GET.dict())
    by_name = {listing.model.name: listing for listing in chosen_listings(names)}
    shown = [by_name[name] for name in names if name in by_name]
    rollups = measured_lately([listing.model.name for listing in shown], timezone.now())
    url = f"{reverse('compare')}?{urlencode([*(('m', name) for name in names), *pairs(workload)])}"
    context = {
        "shown": shown,
        "names": names,
        "letters": LETTERS,
        "missing": [name for name in names if name not in by_name],
        "most": COMPARED_MAX,
        "without": _without(names, workload),
        "catalog_url": f"{reverse('catalog')}?{urlencode([('m', name) for name in names])}",
        **_estimated(shown, workload, rollups),
    }
    if request.headers.get("HX-Request") and not request.headers.get("HX-Boosted"):
        response = render(request, "catalog/estimates.html", context)
        response.headers["HX-Replace-Url"] = url
    else:
        by_model = measured_by(rollups, lambda row: row.model)
        context |= {
            "rows": comparison(shown, by_model),
            "fields": _fields(shown, workload),
            "canonical": absolute(
                reverse("compare"), f"?{urlencode([('m', name) for name in names])}".rstrip("?")
            ),
        }
        response = render(request, "catalog/compare.html", context)
    response.headers["Vary"] = "HX-Request, Cookie, Accept-Language"
    return response


def chosen_listings(names: tuple[str, ...]) -> list[Listing]:
    """Rows of the published models with these names."""
    return listings(models_published().filter(name__in=names))


def measured_lately(names: list[str], now: datetime) -> list[DeploymentRollup]:
    """Rollups of these models over `MEASURED_RANGE`."""
    return rollups_in(names, window_of({"range": MEASURED_RANGE}, now))


def _without(names: tuple[str, ...], workload: Workload) -> dict[str, str]:
    """The comparison's query without a model, by its name."""
    return {
        name: urlencode([*(("m", other) for other in names if other != name), *pairs(workload)])
        for name in names
    }


def _fields(shown: list[Listing], workload: Workload) -> list[dict[str, Any]]:
    """The form's fields: those that the models' tasks need."""
    asked = {name for listing in shown for name in FIELDS_BY_TASK[Task(listing.model.task)]}
    return [
        {"name": name, "bound": bound, "value": getattr(workload, name), "steps": SLIDER_STEPS}
        for name, bound in BOUNDS.items()
        if name == "calls" or name in asked
    ]


def _estimated(
    shown: list[Listing], workload: Workload, rollups: list[DeploymentRollup]
) -> dict[str, Any]:
    measured: dict[int, Measured] = measured_by(rollups, lambda row: row.deployment_id)
    by_model = [estimates(listing, workload, measured) for listing in shown]
    found = [
        (f"{LETTERS[i]}{k + 1}", i, estimate, estimate.month_nano(workload))
        for i, of_model in enumerate(by_model)
        for k, estimate in enumerate(of_model)
    ]
    cheapest = best_of([month for _label, _i, _one, month in found], min)
    fastest = best_of([estimate.latency_ms for _label, _i, estimate, _month in found], min)
    points = [
        Point(estimate.latency_ms, month / NANO_PER_USD, i, label, _title(label, estimate, month))
        for label, i, estimate, month in found
        if estimate.latency_ms is not None and month is not None
    ]
    return {
        "workload": workload,
        "estimates": [
            {
                "label": label,
                "estimate": estimate,
                "month_nano": month,
                "is_cheapest": cheapest is not None and month == cheapest,
                "is_fastest": fastest is not None and estimate.latency_ms == fastest,
            }
            for label, _i, estimate, month in found
        ],
        "scatter": scatter(
            points,
            Axis(_("expected latency of a call →"), lambda value: duration(value, "0")),
            Axis(_("a month ↑"), dollars),
        )
        if points
        else None,
        "unmeasured": len(found) - len(points),
    }


def _title(label: str, estimate: Estimate, month_nano: int) -> str:
    return _("%(label)s: %(model)s at %(provider)s, %(price)s a month, %(latency)s a call") % {
        "label": label,
        "model": estimate.listing.model.display_name,
        "provider": estimate.priced.deployment.provider.name,
        "price": usd(month_nano),
        "latency": duration(estimate.latency_ms),
    }
