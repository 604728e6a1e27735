"""The public status page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from marketplace.operations.status.figures import status_now
from marketplace.storefront.browse.pages import absolute


@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Whether each part works, how available each model was, and what went wrong."""
    context = {"status": status_now(), "canonical": absolute(reverse("status"))}
    return render(request, "status/status.html", context)
