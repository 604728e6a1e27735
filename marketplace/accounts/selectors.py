"""Reading memberships."""

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.utils import timezone

from marketplace.accounts.models import EndedSession, Organisation, Role, User
from router.domain import keys


def organisations_of(user: User | AnonymousUser) -> QuerySet[Organisation]:
    """The open organisations that a person belongs to, none for an anonymous one."""
    if not isinstance(user, User):
        return Organisation.objects.none()
    mine = Organisation.objects.filter(memberships__user=user, closed_at=None)
    return mine.order_by("slug")


def role_in(user: User | AnonymousUser, organisation: Organisation) -> Role | None:
    """A person's role in an organisation, or None for a stranger."""
    if not isinstance(user, User):
        return None
    found = organisation.memberships.filter(user=user).values_list("role", flat=True).first()
    return Role(found) if found else None


def ended_sessions(user_id: int | None = None) -> tuple[keys.EndedSession, ...]:
    """What ended before its tokens expire: of everybody, or of one person."""
    rows = EndedSession.objects.filter(expires_until__gt=timezone.now()).order_by("id")
    if user_id is not None:
        rows = rows.filter(user_id=user_id)
    return tuple(
        keys.EndedSession(
            user_id=row.user_id,
            expires_until_s=int(row.expires_until.timestamp()),
            organisation_id=row.organisation_id or 0,
            session=row.session,
        )
        for row in rows
    )
