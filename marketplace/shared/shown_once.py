"""Secrets that the next page shows, once. Until then they are sealed in the person's session.

Sessions are rows of the database, whose copy must reveal none of them.
"""

from django.http import HttpRequest

from marketplace.shared.sealing import Purpose, Unreadable, vault


def secret_keep(request: HttpRequest, what: str, secret: str) -> None:
    """Keep the secret for the next page that takes ``what``."""
    request.session[what] = vault(Purpose.SHOWN_ONCE).seal(secret)


def secret_take(request: HttpRequest, what: str) -> str:
    """The kept secret, which is then forgotten; "" without one."""
    sealed = request.session.pop(what, "")
    try:
        return vault(Purpose.SHOWN_ONCE).open(sealed) if sealed else ""
    except Unreadable:
        return ""
