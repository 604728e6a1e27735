"""Who is calling the management API, and what of it they may see: the tenant boundary."""

from collections.abc import Collection

from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from marketplace.accounts.models import ApiKey, Organisation, Role, User
from marketplace.accounts.selectors import organisations_of, role_in


def organisations_seen_by(request: Request) -> QuerySet[Organisation]:
    """A key sees its organisation, a person those they belong to. Staff see no more than that."""
    if isinstance(request.auth, ApiKey):
        return Organisation.objects.filter(pk=request.auth.organisation_id)
    return organisations_of(request.user)


def organisation_acted_for(request: Request, slug: str, roles: Collection[Role]) -> Organisation:
    """The organisation, if the caller has one of the roles there; a stranger gets a 404.

    A management key acts as a developer.
    """
    organisation = organisations_seen_by(request).filter(slug=slug).first()
    if organisation is None:
        raise NotFound(f"You belong to no organisation {slug!r}.")
    is_key = isinstance(request.auth, ApiKey)
    role = Role.DEVELOPER if is_key else role_in(request.user, organisation)
    if role not in roles:
        needed = ", ".join(sorted(str(wanted) for wanted in roles))
        raise PermissionDenied(f"This needs one of the roles: {needed}.")
    return organisation


class StaffWritesAllRead(BasePermission):
    """The catalog: public to read, changed by the platform's staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS:
            return True
        return isinstance(request.user, User) and request.user.is_staff
