"""Services for organisations, members and keys."""

import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from marketplace.accounts.models import (
    GUARD_FIELDS,
    ApiKey,
    EndedSession,
    Membership,
    Organisation,
    Role,
    Scope,
    User,
)
from marketplace.accounts.signals import organisation_founded
from marketplace.shared.signals import catalog_changed
from router.domain.keys import SessionClaims, compose_key, digest_key, mask_key, sign_session

KEYS_MAX = 1_000
"""Keys of one organisation that are not revoked: routers hold all of them, expired ones too."""
ORGANISATIONS_MAX = 50
"""Organisations that one person founds and still owns."""


@transaction.atomic
def organisation_create(*, name: str, slug: str, owner: User) -> Organisation:
    """Create an organisation with its owner. Billing opens its prepaid account."""
    organisation = Organisation(name=name, slug=slug)
    organisation.full_clean()
    organisation.save()
    Membership.objects.create(organisation=organisation, user=owner, role=Role.OWNER)
    return organisation


@transaction.atomic
def organisation_found(*, name: str, slug: str, owner: User) -> Organisation:
    """Create an organisation for a person; a founder's first one gets the trial credit.

    ``ValidationError`` for who owns `ORGANISATIONS_MAX` already.
    """
    if owner.memberships.filter(role=Role.OWNER).count() >= ORGANISATIONS_MAX:
        raise ValidationError(
            _("You own %(n)s organisations already: use one of them.") % {"n": ORGANISATIONS_MAX}
        )
    organisation = organisation_create(name=name, slug=slug, owner=owner)
    organisation_founded.send(None, organisation=organisation, founder=owner)
    return organisation


@transaction.atomic
def organisation_rename(*, organisation: Organisation, name: str) -> Organisation:
    """Change the name. The slug, which clients use, stays."""
    organisation.name = name.strip()
    organisation.full_clean()
    organisation.save(update_fields=["name"])
    return organisation


@transaction.atomic
def organisation_keep_responses(*, organisation: Organisation, keeps: bool) -> Organisation:
    """Whether routers keep its responses. What they kept goes within minutes once they do not."""
    organisation.keeps_responses = keeps
    organisation.save(update_fields=["keeps_responses"])
    catalog_changed.send(None)
    return organisation


@transaction.atomic
def organisation_list_apps(*, organisation: Organisation, lists: bool) -> Organisation:
    """Whether the applications that its calls name may be in public rankings."""
    organisation.lists_apps = lists
    organisation.save(update_fields=["lists_apps"])
    return organisation


@transaction.atomic
def organisation_mask(*, organisation: Organisation, masks: Sequence[str]) -> Organisation:
    """Which personal data routers mask in all its calls, within seconds."""
    organisation.masks = list(masks)
    organisation.full_clean()
    organisation.save(update_fields=["masks"])
    catalog_changed.send(None)
    return organisation


@transaction.atomic
def organisation_guard(
    *, organisation: Organisation, model: str, inputs: bool, answers: bool, passes: bool
) -> Organisation:
    """Which moderation model judges all its calls, within seconds; "" for none."""
    organisation.guard_model = model
    organisation.guard_inputs = inputs
    organisation.guard_answers = answers
    organisation.guard_passes = passes
    organisation.full_clean()
    organisation.save(update_fields=GUARD_FIELDS)
    catalog_changed.send(None)
    return organisation


@transaction.atomic
def user_update(*, user: User, **changes: str) -> User:
    """Change a person's ``full_name`` or ``language``."""
    for name, value in changes.items():
        setattr(user, name, value)
    user.full_clean(exclude=["password"])
    user.save(update_fields=list(changes))
    return user


@transaction.atomic
def user_delete(*, user: User) -> None:
    """Delete a person with memberships and budgets. Keys stay with their organisations.

    Refused for the only owner of an organisation, who closes it first, and for a person whom the
    ledger names.
    """
    for membership in user.memberships.select_related("organisation"):
        member_remove(membership=membership)
    try:
        user.delete()
    except ProtectedError as error:
        raise ValidationError(
            _(
                "You granted credit, and the ledger names you for it: ask the platform's staff "
                "to close your account."
            )
        ) from error
    catalog_changed.send(None)


@transaction.atomic
def member_set(*, organisation: Organisation, user: User, role: Role) -> Membership:
    """Add a member, or change a member's role. Refused when no owner would be left."""
    _owner_stays(organisation=organisation, leaving=user if role != Role.OWNER else None)
    membership, _created = Membership.objects.update_or_create(
        organisation=organisation, user=user, defaults={"role": role}
    )
    return membership


@transaction.atomic
def member_remove(*, membership: Membership) -> None:
    """End a membership. Refused when no owner would be left."""
    _owner_stays(organisation=membership.organisation, leaving=membership.user)
    membership.delete()


def _owner_stays(*, organisation: Organisation, leaving: User | None) -> None:
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    owners = organisation.memberships.filter(role=Role.OWNER)
    if leaving is None or not owners.filter(user=leaving).exists():
        return
    if not owners.exclude(user=leaving).exists():
        raise ValidationError(
            _(
                "%(name)s keeps at least one owner: make somebody else its owner first, or close "
                "it on its page."
            )
            % {"name": organisation.name}
        )


@transaction.atomic
def api_key_create(
    *,
    organisation: Organisation,
    name: str,
    created_by: User | None = None,
    scopes: Sequence[str] = (Scope.INFERENCE,),
    models_allowed: Sequence[str] = (),
    expires_at: datetime | None = None,
    rules: Sequence[Mapping[str, Any]] = (),
    masks: Sequence[str] = (),
    **others: int | str | bool | None,
) -> tuple[ApiKey, str]:
    """Create a key and publish it. The second value is the key itself, which is not kept."""
    key = compose_key(secrets.token_bytes(32))
    row = api_key_register(
        key=key,
        organisation=organisation,
        name=name,
        created_by=created_by,
        scopes=scopes,
        models_allowed=models_allowed,
        expires_at=expires_at,
        rules=rules,
        masks=masks,
        **others,
    )
    return row, key


@transaction.atomic
def api_key_register(
    *,
    key: str,
    organisation: Organisation,
    name: str,
    created_by: User | None = None,
    scopes: Sequence[str] = (Scope.INFERENCE,),
    models_allowed: Sequence[str] = (),
    expires_at: datetime | None = None,
    rules: Sequence[Mapping[str, Any]] = (),
    masks: Sequence[str] = (),
    **others: int | str | bool | None,
) -> ApiKey:
    """Store the digest of a given key and publish it. ``others`` are `LIMIT_FIELDS` and
    `GUARD_FIELDS`. ``ValidationError`` where there are `KEYS_MAX`.
    """
    api_key_room_check(organisation)
    row = ApiKey(
        organisation=organisation,
        name=name,
        digest=digest_key(key, settings.WAYPOST_KEY_PEPPER),
        masked=mask_key(key),
        scopes=[str(scope) for scope in scopes],
        models_allowed=list(models_allowed),
        created_by=created_by,
        expires_at=expires_at,
        rules=list(rules),
        masks=list(masks),
        **others,
    )
    row.full_clean()
    row.save()
    catalog_changed.send(None)
    return row


def api_key_room_check(organisation: Organisation) -> None:
    """ValidationError for an organisation that has as many keys as it may."""
    if organisation.api_keys.filter(disabled_at=None).count() >= KEYS_MAX:
        raise ValidationError(
            _("There are %(n)s keys already: revoke those that nobody needs, expired ones too.")
            % {"n": KEYS_MAX}
        )


@transaction.atomic
def api_key_update(*, api_key: ApiKey, **changes: Any) -> ApiKey:
    """Change a key's name, models, expiry, limits, rules, masks or guard, within seconds
    everywhere.
    """
    for name, value in changes.items():
        setattr(api_key, name, value)
    api_key.full_clean()
    api_key.save(update_fields=list(changes))
    catalog_changed.send(None)
    return api_key


@transaction.atomic
def api_key_revoke(*, api_key: ApiKey) -> ApiKey:
    """Disable a key permanently; routers know once they have the next snapshot."""
    if api_key.disabled_at is None:
        api_key.disabled_at = timezone.now()
        api_key.save(update_fields=["disabled_at"])
        catalog_changed.send(None)
    return api_key


def session_token_issue(
    *, user: User, organisation: Organisation, session_key: str
) -> tuple[str, int]:
    """A short-lived bearer token for the router, and when it expires (Unix seconds).

    It ends earlier if the browser's session (``session_key``) ends.
    """
    expires_at_s = int(time.time()) + settings.SESSION_TOKEN_TTL_S
    claims = SessionClaims(
        organisation_id=organisation.pk,
        account_id=organisation.billing_account.pk,
        user_id=user.pk,
        expires_at_s=expires_at_s,
        session=session_name(session_key),
    )
    return sign_session(claims, settings.WAYPOST_KEY_PEPPER), expires_at_s


def session_name(session_key: str) -> str:
    """A digest that names a browser's session without revealing its key."""
    return salted_hmac("waypost.session", session_key).hexdigest()[:16]


@transaction.atomic
def sessions_end(
    *, user_id: int, organisation_id: int | None = None, session_key: str | None = None
) -> None:
    """Make the routers refuse the tokens issued to a person until now.

    All of them, those for an organisation, or those of a browser's session.
    """
    now = timezone.now()
    EndedSession.objects.filter(expires_until__lt=now).delete()
    EndedSession.objects.create(
        user_id=user_id,
        organisation_id=organisation_id,
        session=session_name(session_key) if session_key else "",
        expires_until=now + timedelta(seconds=settings.SESSION_TOKEN_TTL_S),
    )
    catalog_changed.send(None)
