"""Which URLs may be called: https at public addresses, and any in the networks of the settings."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.catalog.addresses import AddressRefused, HostUnknown, host_of, resolve_now
from marketplace.webhooks.models import URL_MAX
from router.domain.addresses import AddressPolicy

_INSIDE = gettext_lazy("%(host)s is an internal address, which webhooks do not call.")
_PLAIN = gettext_lazy("%(host)s must be called over https://.")


def policies() -> dict[str, AddressPolicy]:
    """By scheme: plain http goes nowhere but into the networks that an operator names."""
    networks = settings.WAYPOST_WEBHOOK_NETWORKS
    return {"https": AddressPolicy(networks), "http": AddressPolicy(networks, public=False)}


def webhook_url_checked(url: str) -> str:
    """The URL, if it may be called now. Raises ``ValidationError`` for one that never may be.

    Blocks while the name resolves. A name that nobody knows passes: it may be known when there is
    something to tell, and the connection is judged again then.
    """
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > URL_MAX:
        raise ValidationError(
            _("A webhook's URL has at most %(n)s characters of ASCII, without spaces.")
            % {"n": URL_MAX}
        )
    scheme = url.partition(":")[0].lower()
    policy = policies().get(scheme)
    if policy is None or (scheme == "http" and not settings.WAYPOST_WEBHOOK_NETWORKS):
        raise ValidationError(_("A webhook's URL must begin with https://."))
    try:
        host, port = host_of(url)
    except AddressRefused as error:
        raise ValidationError(
            _("A webhook's URL must look like https://host/path, without a user.")
        ) from error
    try:
        resolve_now(host, port, policy)
    except HostUnknown:
        pass
    except AddressRefused as error:
        told = _INSIDE if scheme == "https" else _PLAIN
        raise ValidationError(told % {"host": host}) from error
    return url
