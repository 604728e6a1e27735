"""Who is calling the management API, and what of it they may see: the tenant boundary."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied as PageDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.accounts.permissions import GRANTS, KEY_ROLE, Permission
from marketplace.accounts.selectors import organisations_of, role_in


def organisations_seen_by(request: Request) -> QuerySet[Organisation]:
    """A key sees its organisation, a person those they belong to. Staff see no more than that."""
    if isinstance(request.auth, ApiKey):
        return Organisation.objects.filter(pk=request.auth.organisation_id)
    return organisations_of(request.user)


def organisation_acted_for(request: Request, slug: str, permission: Permission) -> Organisation:
    """The organisation, if the caller may do that there; a stranger gets a 404."""
    organisation = organisations_seen_by(request).filter(slug=slug).first()
    if organisation is None:
        raise NotFound(f"You belong to no organisation {slug!r}.")
    is_key = isinstance(request.auth, ApiKey)
    role = KEY_ROLE if is_key else role_in(request.user, organisation)
    if role not in GRANTS[permission]:
        needed = ", ".join(sorted(str(wanted) for wanted in GRANTS[permission]))
        raise PermissionDenied(f"This needs one of the roles: {needed}.")
    return organisation


def organisations_allowing(request: Request, permission: Permission) -> QuerySet[Organisation]:
    """Of those that the caller sees, the ones where they may do that."""
    seen = organisations_seen_by(request)
    if isinstance(request.auth, ApiKey):
        return seen if KEY_ROLE in GRANTS[permission] else seen.none()
    # One condition: the role must be that of the caller's own membership.
    return Organisation.objects.filter(
        memberships__user=request.user.pk, memberships__role__in=GRANTS[permission]
    )


def is_staff(request: Request | HttpRequest) -> bool:
    """Whether one of the platform's staff asks, in person."""
    return isinstance(request.user, User) and request.user.is_staff


def staff_required(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """For pages of the platform's staff; others are told whose page it is."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not is_staff(request):
            raise PageDenied(_("This page is for the platform's staff."))
        return view(request, *args, **kwargs)

    return checked


class StaffOnly(BasePermission):
    """For endpoints of the platform's staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return is_staff(request)


class StaffWritesAllRead(BasePermission):
    """The catalog: public to read, changed by the platform's staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.method in SAFE_METHODS or is_staff(request)
