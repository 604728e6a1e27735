"""The platform's staff sign in with a second factor, or get nowhere."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.config.errors.refusals import API, JOBS, refusal

OWN_ACCOUNT = ("account_", "mfa_")
"""Beginnings of the names of pages about one's own sign-in."""
ALWAYS_OPEN = frozenset({"login", "logout", "language", "favicon", "robots"})
SET_UP = "mfa_index"

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class StaffSecondFactorMiddleware:
    """Staff without one are led to set it up, whatever page they open. The API answers 403.

    Whoever has one was asked for it at sign-in: allauth signs nobody in without.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Answer in the view's place, or None to let it."""
        name = request.resolver_match.view_name if request.resolver_match else ""
        if name in ALWAYS_OPEN or name.startswith(OWN_ACCOUNT) or not _lacks_factor(request):
            return None
        said = _("The platform's staff need a second step of signing in. Set one up to go on.")
        if request.path_info.startswith((API, JOBS)):
            refused = refusal(request.path_info, HTTPStatus.FORBIDDEN, said)
            return HttpResponse(refused.body, status=refused.status, headers=dict(refused.headers))
        messages.warning(request, said)
        return redirect(SET_UP)


def _lacks_factor(request: HttpRequest) -> bool:
    user = request.user
    if not settings.WAYPOST_STAFF_SECOND_FACTOR or not isinstance(user, User) or not user.is_staff:
        return False
    factors = Authenticator.objects.filter(user=user)
    return not factors.exclude(type=Authenticator.Type.RECOVERY_CODES).exists()
