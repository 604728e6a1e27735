"""Decorators around allauth's views."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.core.internal import ratelimit
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from marketplace.accounts.sign_in import known_browsers

View = Callable[..., HttpResponseBase]


def mail_required(view: View) -> View:
    """Without mail, show a page that says what to do instead."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.MAIL_ON:
            return render(request, "account/no_mail.html")
        return view(request, *args, **kwargs)

    return wrapped


def mail_limited(action: str, view: View) -> View:
    """Limit the mail sent to a person; strangers cannot use up the person's own limit.

    Counted by address and machine; from an unknown browser also by address alone.
    """

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "POST":
            email = request.POST.get("email", "").strip().lower()
            keys = {"here": f"{email}:{known_browsers.place(request, email)}"}
            if not known_browsers.is_known(request, email):
                keys["anywhere"] = email
            for where, key in keys.items():
                refused = ratelimit.consume_or_429(
                    request, app="allauth.account", action=f"{action}_{where}", key=key
                )
                if refused is not None:
                    return refused
        return view(request, *args, **kwargs)

    return wrapped


def signing_in(request: HttpRequest) -> dict[str, Any]:
    """Context of every page: which ways to sign in are set up, and where the staff is reached."""
    return {
        "contact": settings.WAYPOST_CONTACT,
        "mail_on": settings.MAIL_ON,
        "oidc_name": settings.WAYPOST_OIDC_NAME if settings.OIDC_ON else "",
        "sign_up_open": settings.WAYPOST_SIGN_UP_OPEN,
    }
