"""API-key authentication of the management API: a key with the scope ``management``."""

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from marketplace.accounts.models import ApiKey, Scope, User
from router.domain.keys import digest_key, key_is_wellformed

LAST_USED_RESOLUTION = timedelta(minutes=1)


class KeyCaller(AnonymousUser):
    """The caller with a management key: an organisation, not a person."""

    @property
    def is_authenticated(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_anonymous(self) -> bool:  # type: ignore[override]
        return False


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer wp_live_…``; ``request.auth`` is then the :class:`ApiKey`."""

    keyword = b"bearer"

    def authenticate(self, request: Request) -> tuple[User | KeyCaller, ApiKey] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != self.keyword:
            return None
        found = key_found(words[1].decode("latin-1") if len(words) == 2 else "")
        if Scope.MANAGEMENT not in found.scopes:
            raise AuthenticationFailed("This API key lacks the scope 'management'.")
        key_used(found)
        return KeyCaller(), found

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def key_found(key: str) -> ApiKey:
    """The active key, with its organisation and that one's account. AuthenticationFailed."""
    if not key_is_wellformed(key):
        raise AuthenticationFailed("This is not a Waypost API key.")
    digest = digest_key(key, settings.WAYPOST_KEY_PEPPER)
    keys = ApiKey.objects.select_related("organisation__billing_account")
    found = keys.filter(digest=digest).first()
    if found is None or found.status != "active" or found.organisation.closed_at is not None:
        raise AuthenticationFailed("This API key is unknown, expired or revoked.")
    return found


def key_used(api_key: ApiKey) -> None:
    """Note that a key was used now."""
    now = timezone.now()
    ApiKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_RESOLUTION), pk=api_key.pk
    ).update(last_used_at=now)


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "wp_live_…"}
