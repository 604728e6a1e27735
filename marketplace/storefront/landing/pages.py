"""The landing page."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from marketplace.billing.payments.books.money import nano_of_cents
from marketplace.catalog.selectors import models_published
from marketplace.storefront.browse.filters import filters_of
from marketplace.storefront.browse.listing import listings, sort_models
from marketplace.storefront.browse.pages import absolute
from marketplace.storefront.landing.chart import chart_of
from marketplace.storefront.landing.figures import figures_now
from marketplace.storefront.landing.models import LandingReplay
from marketplace.storefront.start.selectors import model_to_try

MODELS_SHOWN = 8


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """What this is, what it does for latency, models with prices, and how to begin."""
    if "page" in request.GET or list(filters_of(request.GET).pairs()):
        # The catalog was here: links to it stay good.
        return HttpResponsePermanentRedirect(f"{reverse('catalog')}?{request.GET.urlencode()}")
    row = LandingReplay.objects.first()
    replay = row.shown if row else None
    context = {
        "replay": replay,
        "made_at": row.made_at if row else None,
        "gain_percent": round(100 * replay.gain) if replay else 0,
        "chart": chart_of(replay) if replay else None,
        "figures": figures_now(),
        "rows": listings(sort_models(models_published(), "use")[:MODELS_SHOWN]),
        "first": model_to_try(),
        "trial_nano": nano_of_cents(settings.WAYPOST_TRIAL_CREDIT_CENTS),
        "router_url": settings.WAYPOST_ROUTER_URL,
        "canonical": absolute(reverse("landing")),
    }
    return render(request, "landing/landing.html", context)
