"""Tokens of pools and of own endpoints, and the credentials that agents get for them."""

import secrets
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.agents.models import Agent, WorkerToken
from marketplace.catalog.models import Pool
from marketplace.endpoints.models import OwnEndpoint
from router.domain.keys import digest_key

TOKEN_PREFIX = "wp_worker_"  # noqa: S105  # what every token begins with
CREDENTIAL_PREFIX = "wp_agent_"
SECRET_BYTES = 32
HOURS_DEFAULT = 24
HOURS_MAX = 24 * 30
HOURS_REUSABLE_MAX = 24 * 366


def digest_of(secret: str) -> str:
    """How a token or credential is stored."""
    return digest_key(secret, settings.WAYPOST_KEY_PEPPER)


def credential_make() -> str:
    """A new agent's own credential."""
    return CREDENTIAL_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


@transaction.atomic
def worker_token_create(
    *,
    pool: Pool | None = None,
    endpoint: OwnEndpoint | None = None,
    hours: int = HOURS_DEFAULT,
    reusable: bool = False,
    created_by: User | None = None,
) -> tuple[WorkerToken, str]:
    """A token with which one agent may join the pool, or bring its host's servers to the endpoint;
    and the token itself, shown once.

    Any number may join by a reusable one. Raises ``ValidationError`` unless it is valid for 1 to
    `HOURS_MAX` hours, or `HOURS_REUSABLE_MAX`, and for either a pool or an endpoint that is
    ``hosted``.
    """
    if (pool is None) == (endpoint is None):
        raise ValidationError(_("Name a pool, or the endpoint that the token is for."))
    if endpoint is not None and not endpoint.hosted:
        raise ValidationError(
            {"endpoint": _("This endpoint has a URL: add one for your own hosts.")}
        )
    hours_max = HOURS_REUSABLE_MAX if reusable else HOURS_MAX
    if not 1 <= hours <= hours_max:
        raise ValidationError({"hours": _("From 1 to %(n)s hours.") % {"n": hours_max}})
    token = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = WorkerToken.objects.create(
        pool=pool,
        endpoint=endpoint,
        digest=digest_of(token),
        reusable=reusable,
        created_by=created_by,
        expires_at=timezone.now() + timedelta(hours=hours),
    )
    return row, token


def worker_token_end(token: WorkerToken) -> None:
    """Let no agent join by it from now on. Those that did stay."""
    token.expires_at = timezone.now()
    token.save(update_fields=["expires_at"])


def agent_of_credential(credential: str) -> Agent | None:
    """The agent that this credential belongs to, unless it was revoked."""
    if not credential.startswith(CREDENTIAL_PREFIX):
        return None
    return (
        Agent.objects.select_related("pool", "endpoint__organisation")
        .filter(digest=digest_of(credential), revoked_at=None)
        .first()
    )
