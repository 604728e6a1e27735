"""Reading memberships."""

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from marketplace.accounts.models import Organisation, Role, User


def organisations_of(user: User | AnonymousUser) -> QuerySet[Organisation]:
    """The organisations that a person belongs to, none for an anonymous one."""
    if not isinstance(user, User):
        return Organisation.objects.none()
    return Organisation.objects.filter(memberships__user=user).order_by("slug")


def role_in(user: User | AnonymousUser, organisation: Organisation) -> Role | None:
    """A person's role in an organisation, or None for a stranger."""
    if not isinstance(user, User):
        return None
    found = organisation.memberships.filter(user=user).values_list("role", flat=True).first()
    return Role(found) if found else None
