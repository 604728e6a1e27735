"""The search page, and its results alone for the dialog that every page has."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from marketplace.accounts.access import is_staff
from marketplace.accounts.organisations.current import current_organisation
from marketplace.config.navigation import navigation
from marketplace.config.search.selectors import QUERY_CHARACTERS, search


@require_http_methods(["GET", "HEAD", "POST"])
def search_page(request: HttpRequest) -> HttpResponse:
    """The form, and results of ``q``: it is posted, so a pasted key is in no URL, history or log.

    htmx gets the form alone (GET) or the results alone (POST), without the frame of a page.
    """
    text = request.POST.get("q", "").strip()[:QUERY_CHARACTERS]
    member = request.user.is_authenticated
    found = search(
        text,
        organisation=current_organisation(request) if member else None,
        is_staff=is_staff(request),
        sections=navigation(request)["sections"],
    )
    template = "search/search.html"
    if request.headers.get("HX-Request"):
        template = "search/results.html" if request.method == "POST" else "search/form.html"
    return render(request, template, {"text": text, "found": found})
