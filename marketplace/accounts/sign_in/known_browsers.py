"""Browsers in which a person has signed in before. A stranger's guesses do not lock these out.

The signed cookie holds user ids, each with a part of the session hash: a new password voids it.
"""

from allauth.core.internal import ratelimit
from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from marketplace.accounts.models import User

COOKIE = "known"
SALT = "marketplace.accounts.sign_in.known_browsers"
AGE_S = 180 * 24 * 3600
USERS_MAX = 5
HASH_LENGTH = 16


def is_known(request: HttpRequest, email: str) -> bool:
    """Whether this address's person has signed in here, with the present password."""
    known = _known(request)
    user = User.objects.filter(email__iexact=email).first() if known else None
    return user is not None and known.get(str(user.pk)) == _hash(user)


def place(request: HttpRequest, email: str) -> str:
    """A rate-limit key: "known" in the person's own browsers, else the client address."""
    return "known" if is_known(request, email) else str(ratelimit.get_ip(request))


def remember(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    """Record in the cookie that this person has signed in here."""
    others = {pk: kept for pk, kept in _known(request).items() if pk != str(user.pk)}
    latest = dict(list(others.items())[-(USERS_MAX - 1) :])
    response.set_cookie(
        COOKIE,
        signing.dumps({**latest, str(user.pk): _hash(user)}, salt=SALT),
        max_age=AGE_S,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _known(request: HttpRequest) -> dict[str, str]:
    try:
        found = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=AGE_S)
    except signing.BadSignature:
        return {}
    return found if isinstance(found, dict) else {}


def _hash(user: User) -> str:
    return user.get_session_auth_hash()[:HASH_LENGTH]
