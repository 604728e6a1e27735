"""robots.txt and favicon.ico."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.templatetags.static import static
from django.views.decorators.http import require_safe

ROBOTS = """\
User-agent: *
Disallow: /api/
Disallow: /admin/
Disallow: /invitations/
"""


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Search engines may index the catalog, but no API and no personal page."""
    return HttpResponse(ROBOTS, content_type="text/plain; charset=utf-8")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon, for clients that load no page."""
    return HttpResponseRedirect(static("favicon.svg"))
