"""What stands around allauth's views."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

View = Callable[..., HttpResponseBase]


def mail_required(view: View) -> View:
    """Where no mail is set up the page says what to do instead."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.MAIL_ON:
            return render(request, "account/no_mail.html")
        return view(request, *args, **kwargs)

    return wrapped


def signing_in(request: HttpRequest) -> dict[str, Any]:
    """Context of every page: what of signing in is set up here."""
    return {
        "mail_on": settings.MAIL_ON,
        "oidc_name": settings.WAYPOST_OIDC_NAME if settings.OIDC_ON else "",
        "sign_up_open": settings.WAYPOST_SIGN_UP_OPEN,
    }
