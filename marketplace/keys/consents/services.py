"""Agreeing to a key for a tool, and exchanging the code for it."""

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from marketplace.accounts.models import ApiKey, Organisation, Scope, User
from marketplace.accounts.permissions import Permission, may
from marketplace.accounts.services import api_key_create, api_key_revoke
from marketplace.audit.acting import acting_as
from marketplace.billing.budgets.services import budget_set
from marketplace.billing.models import Window
from marketplace.keys.consents.asked import Asked
from marketplace.keys.models import Consent

CODE_TTL = timedelta(minutes=5)
FORGOTTEN_AFTER = timedelta(days=1)
"""When a consent goes whose code nobody exchanged."""

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class ExchangeRefused(Exception):
    """There is no key for this code. The message says why, to who wrote the tool."""


@transaction.atomic
def consent_give(
    *,
    organisation: Organisation,
    person: User,
    asked: Asked,
    name: str,
    scopes: Sequence[str],
    limit_nano: int | None,
    window: str,
) -> str:
    """Keep what the person agreed to; returns the code that the tool exchanges."""
    now = timezone.now()
    organisation.consents.filter(key=None, expires_at__lt=now - FORGOTTEN_AFTER).delete()
    code = secrets.token_urlsafe(32)
    consent = Consent(
        organisation=organisation,
        person=person,
        name=name,
        client=asked.client,
        redirect_uri=asked.redirect_uri,
        scopes=[str(scope) for scope in scopes],
        limit_nano=limit_nano,
        window=window if limit_nano is not None else "",
        code_digest=_digest(code),
        challenge=asked.challenge,
        expires_at=now + CODE_TTL,
    )
    consent.full_clean()
    consent.save()
    return code


def consent_exchange(
    *, code: str, verifier: str, redirect_uri: str | None = None
) -> tuple[ApiKey, str]:
    """Make the key that the code stands for; the second value is the key itself.

    ``redirect_uri`` is compared where there is one: not all dialects repeat it. A code that comes
    a second time with its verifier has been stolen together with it, or is used by two: the key
    that was made for it is revoked. Raises ``ExchangeRefused``.
    """
    with transaction.atomic():
        # A second exchange of the same code waits here, and then finds the key.
        rows = Consent.objects.select_for_update(of=("self",)).select_related(
            "organisation", "person", "key"
        )
        consent = rows.filter(code_digest=_digest(code), expires_at__gt=timezone.now()).first()
        if consent is None:
            raise ExchangeRefused("There is no such code, or it is older than five minutes.")
        if not _VERIFIER.fullmatch(verifier) or not constant_time_compare(
            challenge_of(verifier), consent.challenge
        ):
            raise ExchangeRefused("The code_verifier is not that of the code_challenge.")
        if redirect_uri is not None and redirect_uri != consent.redirect_uri:
            raise ExchangeRefused("The redirect_uri is not the one that the code was sent to.")
        if consent.key is None:
            try:
                return _key_made(consent)
            except ValidationError as error:
                raise ExchangeRefused(" ".join(error.messages)) from error
        api_key_revoke(api_key=consent.key)
    raise ExchangeRefused("This code was exchanged before; the key that it gave is revoked now.")


def challenge_of(verifier: str) -> str:
    """A verifier's challenge by S256 (RFC 7636, section 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def permissions_for(scopes: Sequence[str]) -> tuple[Permission, ...]:
    """What a person needs to give away a key with these scopes."""
    wide = (Permission.MANAGEMENT_KEYS,) if Scope.MANAGEMENT in scopes else ()
    return (Permission.KEYS, *wide)


def _key_made(consent: Consent) -> tuple[ApiKey, str]:
    organisation, person = consent.organisation, consent.person
    # Minutes have passed: the person may have left, or have another role.
    if (
        person is None
        or not person.is_active
        or not all(may(person, organisation, needed) for needed in permissions_for(consent.scopes))
    ):
        raise ExchangeRefused("The person who agreed may not make such keys any more.")
    with acting_as(person):
        row, key = api_key_create(
            organisation=organisation,
            name=consent.name,
            created_by=person,
            scopes=consent.scopes,
        )
        if consent.limit_nano is not None:
            budget_set(
                organisation=organisation,
                key=row,
                limit_nano=consent.limit_nano,
                window=Window(consent.window),
            )
        consent.key = row
        consent.save(update_fields=["key"])
    return row, key


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
