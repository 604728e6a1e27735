"""A new key in the session, for the one page view that shows it."""

from django.http import HttpRequest

SESSION_KEY = "new_key"


def new_key_keep(request: HttpRequest, key: str) -> None:
    """Keep the key for the next page that takes it."""
    request.session[SESSION_KEY] = key


def new_key_take(request: HttpRequest) -> str:
    """The kept key, which is then forgotten; "" without one."""
    key: str = request.session.pop(SESSION_KEY, "")
    return key
