"""Keys, and what every signed-in page needs: the organisation that the person acts for."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from marketplace.accounts.models import KEY_ROLES, LIMIT_FIELDS, Organisation
from marketplace.accounts.selectors import organisations_of, role_in
from marketplace.accounts.services import api_key_create, api_key_revoke

View = Callable[..., HttpResponseBase]

SESSION_KEY = "organisation"
NEW_KEY = "new_key"
"""Where a key waits in the session for the one page view that shows it."""


class KeyForm(forms.Form):
    """A new key needs a name that its owner will recognise later, and may have limits."""

    name = forms.CharField(max_length=80, label=gettext_lazy("Name"))
    requests_per_minute = forms.IntegerField(
        min_value=1, required=False, label=gettext_lazy("Requests per minute")
    )
    tokens_per_minute = forms.IntegerField(
        min_value=1, required=False, label=gettext_lazy("Tokens per minute")
    )
    calls_at_once = forms.IntegerField(
        min_value=1, required=False, label=gettext_lazy("Calls at once")
    )

    @property
    def limits(self) -> list[forms.BoundField]:
        """The optional fields."""
        return [self[name] for name in LIMIT_FIELDS]


def current_organisation(request: HttpRequest) -> Organisation | None:
    """The organisation chosen in this session if the person still belongs to it, else the first."""
    mine = organisations_of(request.user)
    chosen = request.session.get(SESSION_KEY) if hasattr(request, "session") else None
    return (mine.filter(slug=chosen).first() if chosen else None) or mine.first()


def organisation_required(view: View) -> View:
    """Signed-in members only; the view gets the organisation as its second argument."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        organisation = current_organisation(request)
        if organisation is None:
            raise Http404(_("You belong to no organisation yet."))
        return view(request, organisation, *args, **kwargs)

    return login_required(wrapped)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context of the top bar: the organisation and its account."""
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
    """Act for another organisation of one's own from now on, in this session."""
    mine = organisations_of(request.user)
    request.session[SESSION_KEY] = get_object_or_404(mine, slug=request.POST.get("slug")).slug
    # Not back to the page before: a call or a filter of it may belong to the other organisation.
    return redirect("usage")


@require_GET
@organisation_required
def keys(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's keys, masked, and once the one that was just made."""
    return _keys_page(request, organisation, KeyForm())


@require_POST
@organisation_required
def key_create(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Make a key and show it on the next page view only."""
    _may_change_keys(request, organisation)
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _keys_page(request, organisation, form, status=422)
    _row, key = api_key_create(
        organisation=organisation,
        created_by=request.user,  # type: ignore[arg-type] # login_required
        **form.cleaned_data,
    )
    request.session[NEW_KEY] = key
    return redirect("keys")


@require_http_methods(["POST"])
@organisation_required
def key_revoke(request: HttpRequest, organisation: Organisation, key_id: int) -> HttpResponse:
    """Switch a key off for good."""
    _may_change_keys(request, organisation)
    api_key_revoke(api_key=get_object_or_404(organisation.api_keys, pk=key_id))
    return redirect("keys")


def _keys_page(
    request: HttpRequest, organisation: Organisation, form: KeyForm, status: int = 200
) -> HttpResponse:
    context = {
        "form": form,
        "keys": organisation.api_keys.select_related("created_by"),
        "new_key": request.session.pop(NEW_KEY, ""),
        "may_change": role_in(request.user, organisation) in KEY_ROLES,
    }
    response = render(request, "accounts/keys.html", context, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _may_change_keys(request: HttpRequest, organisation: Organisation) -> None:
    if role_in(request.user, organisation) not in KEY_ROLES:
        raise PermissionDenied(_("Your role may look at keys but not change them."))
