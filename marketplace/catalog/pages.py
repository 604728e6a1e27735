"""The catalog and a model's page."""

from typing import Any

from django.conf import settings
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from marketplace.catalog.listing import Listing, listings, sort_listings
from marketplace.catalog.models import AIModel, Provider, Task
from marketplace.catalog.selectors import hardware_offered, models_published

SORTS = {
    "name": _("Name"),
    "price": _("Price"),
    "speed": _("Measured speed"),
    "use": _("Most used"),
}
KINDS = {"": _("Real and emulated"), "real": _("Real only"), "emulated": _("Emulated only")}
TABS = {
    "overview": _("Overview"),
    "playground": _("Playground"),
    "api": _("API"),
    "providers": _("Providers"),
}
FRAUD_EXAMPLE = {
    "amount_usd": 240.0,
    "hour_of_day": 3,
    "km_from_home": 320,
    "minutes_since_last": 4,
    "transactions_last_day": 5,
    "merchant_risk": 0.4,
    "card_present": 0,
    "account_age_days": 90,
}
"""What the fraud scorer's form begins with: a transaction worth a second look."""


@require_GET
def catalog(request: HttpRequest) -> HttpResponse:
    """All published models; the filters are the URL's query."""
    query = {
        name: request.GET.get(name, "")
        for name in ("q", "task", "provider", "hardware", "kind", "sort")
    }
    models = models_published()
    if query["q"]:
        words = query["q"]
        models = models.filter(
            Q(name__icontains=words)
            | Q(display_name__icontains=words)
            | Q(description__icontains=words)
        )
    if query["task"] in Task.values:
        models = models.filter(task=query["task"])
    if query["kind"] in ("real", "emulated"):
        models = models.filter(emulated=query["kind"] == "emulated")
    rows = listings(models)
    if query["provider"]:
        rows = [row for row in rows if query["provider"] in row.providers]
    if query["hardware"]:
        rows = [row for row in rows if query["hardware"] in row.hardware]
    context = {
        "rows": sort_listings(rows, query["sort"]),
        "query": query,
        "tasks": Task.choices,
        "sorts": SORTS,
        "kinds": KINDS,
        "providers": Provider.objects.all(),
        "hardware": hardware_offered(),
    }
    partial = request.headers.get("HX-Request") and not request.headers.get("HX-Boosted")
    template = "catalog/results.html" if partial else "catalog/catalog.html"
    response = render(request, template, context)
    response.headers["Vary"] = "HX-Request, Cookie, Accept-Language"
    return response


@require_GET
def model(request: HttpRequest, author: str, slug: str) -> HttpResponse:
    """One model: what it is, a place to try it, how to call it, who offers it."""
    found = models_published().filter(name=f"{author}/{slug}")
    rows = listings(found)
    if not rows:
        raise Http404(f"{author}/{slug}")
    tab = request.GET.get("tab", "overview")
    listing = rows[0]
    context = {
        "listing": listing,
        "model": listing.model,
        "tabs": TABS,
        "tab": tab if tab in TABS else "overview",
        "router_url": settings.SWITCHYARD_ROUTER_URL,
        "router_host": settings.SWITCHYARD_ROUTER_URL.partition("://")[2],
        "playground": _playground_kind(listing),
        "tensor_input": _first_input(listing.model),
        "features": FRAUD_EXAMPLE,
    }
    return render(request, "catalog/model.html", context)


def _playground_kind(listing: Listing) -> str:
    """Which playground fits the model; "" when there is none for it yet."""
    task = listing.model.task
    if task in (Task.CHAT, Task.EMBEDDINGS):
        return str(task)
    width = _first_input(listing.model).get("shape", [])[-1:]
    return "tensor" if task == Task.TABULAR and width == [len(FRAUD_EXAMPLE)] else ""


def _first_input(model: AIModel) -> dict[str, Any]:
    inputs = model.tensors.get("inputs") or [{}]
    return dict(inputs[0])
