"""The page on which a person agrees, or not."""

from typing import Any
from urllib.parse import urlencode

from allauth.core.internal import ratelimit
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import current_organisation
from marketplace.accounts.permissions import GRANTS, Permission, demand, roles_named
from marketplace.accounts.selectors import organisations_of
from marketplace.keys.consents.asked import Asked, asked_read
from marketplace.keys.consents.forms import ConsentForm
from marketplace.keys.consents.services import CODE_TTL, consent_give, permissions_for

REFUSE = "refuse"
"""The name of the button that says no."""


@require_http_methods(["GET", "HEAD", "POST"])
def authorize(request: HttpRequest) -> HttpResponseBase:
    """Show what a tool asks for; send the person back with a code, or with their no.

    Nobody is sent anywhere without having pressed a button that names the place.
    """
    try:
        asked = asked_read(request.GET)
    except ValidationError as error:
        wrong = {"wrong": " ".join(error.messages)}
        return render(request, "keys/authorize.html", wrong, status=400)
    if not isinstance(request.user, User):
        return redirect_to_login(request.get_full_path())
    if not organisations_of(request.user).exists():
        return redirect(f"{reverse('welcome')}?{urlencode({'next': request.get_full_path()})}")
    return _asked(request, request.user, asked)


def _asked(request: HttpRequest, person: User, asked: Asked) -> HttpResponseBase:
    if request.method == "POST" and REFUSE in request.POST:
        return _back(asked, error="access_denied")
    mine = Organisation.objects.filter(
        memberships__user=person, memberships__role__in=GRANTS[Permission.KEYS]
    ).order_by("slug")
    if not mine.exists():
        raise PermissionDenied(
            _("This needs one of the roles: %(roles)s.") % {"roles": roles_named(Permission.KEYS)}
        )
    given = request.POST if request.method == "POST" else None
    here = current_organisation(request)
    form = ConsentForm(given, asked=asked, organisations=mine, current=here)
    if form.is_bound and form.is_valid():
        for needed in permissions_for(form.cleaned_data["scopes"]):
            demand(request, form.cleaned_data["organisation"], needed)
        refused = ratelimit.consume_or_429(request, app="allauth.account", action="consent")
        if refused is not None:
            return refused
        return _back(asked, code=consent_give(person=person, asked=asked, **form.agreed))
    context: dict[str, Any] = {
        "asked": asked,
        "form": form,
        "several": mine.count() > 1,
        "minutes": CODE_TTL.seconds // 60,
        "refuse": REFUSE,
    }
    response = render(request, "keys/authorize.html", context, status=422 if form.is_bound else 200)
    # Browsers apply form-action to where the form's answer redirects to.
    response._csp_update = {"form-action": [asked.form_target]}  # type: ignore[attr-defined]
    return response


def _back(asked: Asked, **answer: str) -> HttpResponse:
    # 303: the browser comes by GET, and sends the form to nobody else.
    return HttpResponseRedirect(asked.back(settings.WAYPOST_PUBLIC_URL, **answer), status=303)
