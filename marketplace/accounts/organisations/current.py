"""The organisation that a signed-in person acts for; every page needs it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from marketplace.accounts.models import Organisation
from marketplace.accounts.selectors import organisations_of

View = Callable[..., HttpResponseBase]

SESSION_KEY = "organisation"


def current_organisation(request: HttpRequest) -> Organisation | None:
    """The organisation chosen in this session if the person still belongs to it, else the first."""
    mine = organisations_of(request.user)
    chosen = request.session.get(SESSION_KEY) if hasattr(request, "session") else None
    return (mine.filter(slug=chosen).first() if chosen else None) or mine.first()


def organisation_required(view: View) -> View:
    """Restrict a view to signed-in members; the organisation is its second argument.

    A person without an organisation is redirected to the welcome page.
    """

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        organisation = current_organisation(request)
        if organisation is None:
            return redirect("welcome")
        return view(request, organisation, *args, **kwargs)

    return login_required(wrapped)


def acting_for(request: HttpRequest) -> dict[str, Any]:
    """Context of every page: the current organisation and its account."""
    if not request.user.is_authenticated:
        return {}
    organisation = current_organisation(request)
    return {
        "organisation": organisation,
        "organisations": organisations_of(request.user),
        "account": getattr(organisation, "billing_account", None),
    }


@require_POST
@login_required
def organisation_switch(request: HttpRequest) -> HttpResponse:
    """Make another of the person's organisations the current one of this session."""
    mine = organisations_of(request.user)
    request.session[SESSION_KEY] = get_object_or_404(mine, slug=request.POST.get("slug")).slug
    # Not back to the page before: a call or a filter of it may belong to the other organisation.
    return redirect("usage")
