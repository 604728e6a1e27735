"""A new key of an organisation, for the one page view that shows it."""

from django.http import HttpRequest

from marketplace.accounts.models import Organisation
from marketplace.shared.shown_once import secret_keep, secret_take


def new_key_keep(request: HttpRequest, organisation: Organisation, key: str) -> None:
    """Keep the key for the organisation's next page that takes it."""
    secret_keep(request, _name(organisation), key)


def new_key_take(request: HttpRequest, organisation: Organisation) -> str:
    """The kept key, which is then forgotten; "" without one."""
    return secret_take(request, _name(organisation))


def _name(organisation: Organisation) -> str:
    return f"new_key:{organisation.pk}"
