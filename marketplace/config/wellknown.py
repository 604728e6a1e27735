"""robots.txt, sitemap.xml and favicon.ico."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.http import require_safe

from marketplace.catalog.selectors import models_published

ROBOTS = """\
User-agent: *
Disallow: /api/
Disallow: /admin/
Disallow: /invitations/
Disallow: /auth
"""
PUBLIC_PAGES = ("landing", "catalog", "rankings", "status")
SITEMAP_URLS_MAX = 50_000
"""As many as a sitemap may have: https://www.sitemaps.org/protocol.html."""


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Search engines may index the catalog, but no API and no personal page."""
    sitemap_url = settings.WAYPOST_PUBLIC_URL + reverse("sitemap")
    text = f"{ROBOTS}Sitemap: {sitemap_url}\n"
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@require_safe
def sitemap(request: HttpRequest) -> HttpResponse:
    """The pages that search engines may index: each published model has one."""
    names = models_published().order_by("name").values_list("name", flat=True)
    paths = [
        *(reverse(name) for name in PUBLIC_PAGES),
        *(reverse("model", args=name.split("/", 1)) for name in names),
    ]
    urls = [settings.WAYPOST_PUBLIC_URL + path for path in paths[:SITEMAP_URLS_MAX]]
    return render(request, "sitemap.xml", {"urls": urls}, content_type="application/xml")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon, for clients that load no page."""
    return HttpResponseRedirect(static("favicon.svg"))
