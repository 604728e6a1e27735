"""The catalog and a model's page."""

import json
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from marketplace.accounts.selectors import organisations_of
from marketplace.catalog.models import Task
from marketplace.catalog.selectors import facets, models_published
from marketplace.pipelines.examples import example_of
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import pipelines_seen
from marketplace.predictions.stages.pipeline import pipeline_shown
from marketplace.storefront.browse.filters import (
    COMPARED_MAX,
    CONTEXTS,
    KINDS,
    MODALITIES,
    RELEVANCE,
    SORTS,
    VIEWS,
    chips,
    filters_of,
    price_problem,
)
from marketplace.storefront.browse.listing import found, listings, with_trends
from marketplace.storefront.browse.model_tabs import TAB_CONTEXTS
from marketplace.storefront.browse.pipelines import pipelines_found
from marketplace.storefront.browse.playground import playground_kind, playground_settings
from marketplace.storefront.browse.tensor_examples import as_json, tensor_examples

CARDS_PER_PAGE, ROWS_PER_PAGE = 24, 50
TABS = {
    "overview": _("Overview"),
    "playground": _("Playground"),
    "api": _("API"),
    "providers": _("Providers"),
    "performance": _("Performance"),
    "versions": _("Versions"),
    "activity": _("Activity"),
}


@require_safe
def catalog(request: HttpRequest) -> HttpResponse:
    """The catalog, filtered by the URL's query."""
    filters = filters_of(request.GET)
    models, is_alike = found(filters)
    per_page = CARDS_PER_PAGE if filters.view == "cards" else ROWS_PER_PAGE
    organisation_ids = [one.pk for one in organisations_of(request.user)]
    pipelines = pipelines_found(filters, organisation_ids)
    if is_alike and pipelines:
        models, is_alike = models.none(), False
    page = Paginator(models, per_page).get_page(request.GET.get("page"))
    known = facets()
    rows = with_trends(listings(page.object_list))
    names = {row.model.name for row in rows}
    context = {
        "page": page,
        "rows": rows,
        "pipelines": pipelines if page.number == 1 else [],
        "is_alike": is_alike,
        "filters": filters,
        "price_problem": price_problem(request.GET),
        "price_typed": request.GET.get("price", "").strip(),
        "chips": chips(filters, known.providers),
        "elsewhere": [name for name in filters.chosen if name not in names],
        "compare_full": len(filters.chosen) >= COMPARED_MAX,
        "compare_max": COMPARED_MAX,
        "compare_url": reverse("compare") + "?" + urlencode({"m": filters.chosen}, doseq=True),
        "facets": known,
        "tasks": Task.choices,
        "modalities": MODALITIES,
        "contexts": CONTEXTS,
        "kinds": KINDS,
        "sorts": {
            name: label for name, label in SORTS.items() if filters.words or name != RELEVANCE
        },
        "views": VIEWS,
        "canonical": absolute(reverse("catalog"), filters.canonical),
    }
    partial = request.headers.get("HX-Request") and not request.headers.get("HX-Boosted")
    template = "catalog/results.html" if partial else "catalog/catalog.html"
    response = render(request, template, context)
    response.headers["Vary"] = "HX-Request, Cookie, Accept-Language"
    if partial:
        # The address bar shows the query without the form's empty fields.
        response.headers["HX-Push-Url"] = reverse("catalog") + filters.url().rstrip("?")
    return response


def absolute(path: str, query: str = "") -> str:
    """A page's absolute URL, for ``rel=canonical``."""
    return f"{settings.WAYPOST_PUBLIC_URL}{path}{query}"


@require_safe
def model(request: HttpRequest, author: str, slug: str) -> HttpResponse:
    """A model's page: description, playground, how to call it, and providers.

    Of a pipeline that everybody may call, or that is the viewer's organisation's: its graph.
    """
    name = f"{author}/{slug}"
    rows = listings(models_published().filter(name=name))
    if not rows:
        if (row := _pipeline_seen(request, name)) is None:
            raise Http404(name)
        return _pipeline(request, row)
    asked = request.GET.get("tab", "")
    tab = asked if asked in TABS else "overview"
    listing, shows = rows[0], TAB_CONTEXTS.get(tab)
    kind = playground_kind(listing.model)
    inputs = listing.model.tensors.get("inputs", []) if kind == "form" else []
    examples = tensor_examples(inputs, listing.model.input_schema)
    context = {
        "listing": listing,
        "model": listing.model,
        "tabs": TABS,
        "tab": tab,
        "router_url": settings.WAYPOST_ROUTER_URL,
        "router_host": settings.WAYPOST_ROUTER_URL.partition("://")[2],
        "router_has_tls": settings.WAYPOST_ROUTER_URL.startswith("https:"),
        "playground": kind,
        "playground_settings": playground_settings(listing) if tab == "playground" else None,
        "tensor_examples": examples,
        "tensor_json": _for_shell(as_json(examples)),
        "canonical": absolute(reverse("model", args=(author, slug))),
        **(shows(listing, request.GET.dict(), timezone.now()) if shows else {}),
    }
    return render(request, "catalog/model.html", context)


def _pipeline_seen(request: HttpRequest, name: str) -> Pipeline | None:
    organisation_ids = [one.pk for one in organisations_of(request.user)]
    return pipelines_seen(organisation_ids).filter(name=name).first()


def _pipeline(request: HttpRequest, row: Pipeline) -> HttpResponse:
    shown = pipeline_shown(row)
    context = {
        "row": row,
        "shown": shown,
        "example": _for_shell(_as_json(shown.definition.input_schema)),
        "router_url": settings.WAYPOST_ROUTER_URL,
        "canonical": absolute(reverse("model", args=row.name.split("/", 1))),
    }
    return render(request, "catalog/pipeline.html", context)


def _as_json(schema: dict[str, Any]) -> str:
    """An example of an input, as JSON."""
    return json.dumps(example_of(schema), ensure_ascii=False)


def _for_shell(text: str) -> str:
    """A text that stands between a shell's single quotes."""
    return text.replace("'", r"'\''")
