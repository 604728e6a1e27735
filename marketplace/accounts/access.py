"""The tenant boundary: who calls the management API, and which organisations they may see."""

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
    """A key's own organisation, or those a person belongs to. Staff see no more than that."""
    if isinstance(request.auth, ApiKey):
        return Organisation.objects.filter(pk=request.auth.organisation_id)
    return organisations_of(request.user)


def organisation_acted_for(request: Request, slug: str, permission: Permission) -> Organisation:
    """The organisation, if the caller has the permission there, else 403; 404 for a stranger."""
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
    """The organisations that the caller sees and has the permission in."""
    seen = organisations_seen_by(request)
    if isinstance(request.auth, ApiKey):
        return seen if KEY_ROLE in GRANTS[permission] else seen.none()
    # One condition: the role must be that of the caller's own membership.
    return Organisation.objects.filter(
        memberships__user=request.user.pk,
        memberships__role__in=GRANTS[permission],
        closed_at=None,
    )


def is_staff(request: Request | HttpRequest) -> bool:
    """Whether the request is from one of the platform's staff, not from an API key."""
    return isinstance(request.user, User) and request.user.is_staff


def staff_required(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Restrict a page to the platform's staff. Others get a 403 that says so."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not is_staff(request):
            raise PageDenied(_("This page is for the platform's staff."))
        return view(request, *args, **kwargs)

    return checked


class StaffOnly(BasePermission):
    """Restricts an endpoint to the platform's staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return is_staff(request)


class StaffWritesAllRead(BasePermission):
    """Anybody may read; only the platform's staff may write."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.method in SAFE_METHODS or is_staff(request)
