"""What machines ask any site for."""

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
    """Pages of the catalog may be found; what is for machines or for one person, not."""
    return HttpResponse(ROBOTS, content_type="text/plain; charset=utf-8")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Where the icon is, for whoever reads no page."""
    return HttpResponseRedirect(static("favicon.svg"))
