"""Who calls ``/v1/``: a key or a signed-in person, each for one organisation."""

import time
from dataclasses import dataclass

from django.conf import settings
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from marketplace.accounts.authentication import KeyCaller, key_found, key_used
from marketplace.accounts.models import Membership, Scope, User
from marketplace.accounts.permissions import GRANTS, Permission
from marketplace.accounts.selectors import ended_sessions
from router.domain.keys import SESSION_PREFIX, verify_session

BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and whose account pays: a key, or a person; the other one's id is 0."""

    organisation_id: int
    account_id: int
    key_id: int = 0
    user_id: int = 0

    def __post_init__(self) -> None:
        if bool(self.key_id) == bool(self.user_id):
            raise ValueError(f"a caller is a key or a person, got {self!r}")


class CallerAuthentication(BaseAuthentication):
    """What the router takes: a key with the scope ``inference``, or a page's session token.

    ``request.auth`` is then the :class:`Caller`.
    """

    def authenticate(self, request: Request) -> tuple[User | KeyCaller, Caller] | None:
        token = _token(request)
        if not token:
            return None
        if token.startswith(SESSION_PREFIX):
            return _of_session(token)
        api_key = key_found(token)
        if Scope.INFERENCE not in api_key.scopes:
            raise PermissionDenied("This API key lacks the scope 'inference'.")
        key_used(api_key)
        account = api_key.organisation.billing_account
        return KeyCaller(), Caller(api_key.organisation_id, account.pk, key_id=api_key.pk)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def membership_that_calls(*, organisation_id: int, user_id: int) -> Membership | None:
    """The membership by which a person may call models for an organisation now."""
    memberships = Membership.objects.select_related("user", "organisation__billing_account")
    return memberships.filter(
        organisation_id=organisation_id,
        user_id=user_id,
        user__is_active=True,
        role__in=GRANTS[Permission.CALL],
    ).first()


def _token(request: Request) -> str:
    """The bearer, or Anthropic's clients' ``x-api-key``; "" without either."""
    header = get_authorization_header(request).decode("latin-1")
    if header[: len(BEARER)].lower() == BEARER:
        return header[len(BEARER) :].strip()
    return "" if header else request.headers.get("x-api-key", "")


def _of_session(token: str) -> tuple[User, Caller]:
    claims = verify_session(token, settings.WAYPOST_KEY_PEPPER)
    if claims is None or claims.key_id or time.time() >= claims.expires_at_s:
        raise AuthenticationFailed("This session has expired; reload the page.")
    membership = membership_that_calls(
        organisation_id=claims.organisation_id, user_id=claims.user_id
    )
    ended = any(ended_session.covers(claims) for ended_session in ended_sessions(claims.user_id))
    if membership is None or ended:
        raise AuthenticationFailed("This session has ended; sign in again.")
    account = membership.organisation.billing_account
    return membership.user, Caller(claims.organisation_id, account.pk, user_id=claims.user_id)
