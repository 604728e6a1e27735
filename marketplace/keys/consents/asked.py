"""What a tool asks for, as the link says that it sends a person by."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.translation import gettext as _

from marketplace.accounts.models import Scope
from marketplace.billing.models import Window
from marketplace.keys.models import LOOPBACK

URI_MAX = 2_000
STATE_MAX = 1_000
NAME_MAX = 80
LIMIT_USD_MAX = Decimal(1_000_000)
WINDOWS = {"daily": Window.DAY, "weekly": Window.WEEK, "monthly": Window.MONTH}
"""OpenRouter's words for when a budget begins again."""
ONCE = (
    *("response_type", "client_id", "redirect_uri", "callback_url", "scope", "state"),
    *("code_challenge", "code_challenge_method", "key_label", "limit", "usage_limit_type"),
)

# What browsers and we read alike: ASCII without spaces, quotes, backslashes, brackets of HTML.
_URI = re.compile(r"https?://[!$-;=?-Z\[\]_a-z~]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the tool wants. ``client`` is what it calls itself, which nobody has checked."""

    redirect_uri: str
    challenge: str
    scopes: tuple[str, ...]
    state: str = ""
    client: str = ""
    label: str = ""
    limit_usd: Decimal | None = None
    window: str = Window.MONTH

    @property
    def origin(self) -> str:
        """Where the person is sent back to."""
        parts = urlsplit(self.redirect_uri)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def host(self) -> str:
        """The tool's host; "" for a program on the person's own computer."""
        parts = urlsplit(self.redirect_uri)
        return "" if parts.hostname in LOOPBACK else parts.netloc

    @property
    def form_target(self) -> str:
        """The origin as a Content-Security-Policy can say it, which has no words for IPv6."""
        return "http:" if "[" in self.origin else self.origin

    def back(self, issuer: str, **answer: str) -> str:
        """The address that the person goes back to with the answer, the state and who answers."""
        parts = urlsplit(self.redirect_uri)
        said = {**answer, **({"state": self.state} if self.state else {}), "iss": issuer}
        query = "&".join(filter(None, [parts.query, urlencode(said)]))
        return urlunsplit(parts._replace(query=query))


def asked_read(query: QueryDict) -> Asked:
    """What the link asks for. ValidationError that says what is wrong with it.

    Such a link is never answered by a redirect: its address is not to be trusted either.
    """
    for name in ONCE:
        if len(query.getlist(name)) > 1:
            raise ValidationError(_("%(name)s is there more than once.") % {"name": name})
    given = {name: str(query.get(name, "")) for name in ONCE}
    if given["response_type"] not in {"", "code"}:
        raise ValidationError(_("response_type must be code."))
    uris = [given[name] for name in ("redirect_uri", "callback_url") if given[name]]
    if len(uris) != 1:
        raise ValidationError(_("It needs one redirect_uri (or callback_url)."))
    if given["code_challenge_method"] != "S256" or not _CHALLENGE.fullmatch(
        given["code_challenge"]
    ):
        raise ValidationError(
            _("It needs a code_challenge of 43 characters, and code_challenge_method=S256.")
        )
    if len(given["state"]) > STATE_MAX:
        raise ValidationError(_("state may have %(n)s characters.") % {"n": STATE_MAX})
    return Asked(
        redirect_uri=redirect_uri_check(uris[0]),
        challenge=given["code_challenge"],
        scopes=_scopes(given["scope"]),
        state=given["state"],
        client=given["client_id"][:NAME_MAX],
        label=given["key_label"][:NAME_MAX],
        limit_usd=_limit(given["limit"]),
        window=WINDOWS.get(given["usage_limit_type"], Window.MONTH),
    )


def redirect_uri_check(uri: str) -> str:
    """The address. ValidationError unless it is https, or http on the person's own computer."""
    wrong = _("The address to return to must be https://host/…, or http://127.0.0.1:port/….")
    if len(uri) > URI_MAX or not _URI.fullmatch(uri):
        raise ValidationError(wrong)
    try:
        parts = urlsplit(uri)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValidationError(wrong) from error
    is_own = host in LOOPBACK
    if "@" in parts.netloc or not (is_own or (parts.scheme == "https" and _HOST.fullmatch(host))):
        raise ValidationError(wrong)
    if {"code", "error"} & parse_qs(parts.query, keep_blank_values=True).keys():
        raise ValidationError(_("The address to return to may have no code and no error."))
    return uri


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(text.split())) or (Scope.INFERENCE.value,)
    if unknown := sorted(set(scopes) - set(Scope.values)):
        raise ValidationError(
            _("There is no scope %(names)s, only %(known)s.")
            % {"names": ", ".join(unknown), "known": ", ".join(Scope.values)}
        )
    return scopes


def _limit(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        limit = Decimal(text)
    except InvalidOperation as error:
        raise ValidationError(_("limit must be dollars, such as 5.")) from error
    if not limit.is_finite() or not 0 <= limit <= LIMIT_USD_MAX:
        raise ValidationError(_("limit must be dollars, such as 5."))
    return limit
