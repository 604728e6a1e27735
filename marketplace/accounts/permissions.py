"""What each role may do in its organisation: one table for pages and API.

Every member may read what the organisation has. Everything else is a permission here.
"""

from collections.abc import Mapping
from enum import StrEnum

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.accounts.models import ApiKey, Organisation, Role, Scope, User
from marketplace.accounts.selectors import role_in


class Permission(StrEnum):
    """What a member may do besides reading."""

    LOOK = "look"
    CALL = "call"
    KEYS = "keys"
    MANAGEMENT_KEYS = "management_keys"
    """Manage management keys, which act for the organisation: not for developers or keys."""
    MONEY = "money"
    """Pay, set budgets, and set auto-recharge."""
    MEMBERS = "members"
    OWNERS = "owners"
    """Appoint and remove owners. Admins may not, or they could take an organisation over."""
    CLOSE = "close"
    ORGANISATION = "organisation"
    """Rename it, and read its audit log."""
    OFFERINGS = "offerings"
    """Publish, price and measure what the organisation provides."""


_OWNER = frozenset({Role.OWNER})
_ADMINS = _OWNER | {Role.ADMIN}
_DEVELOPERS = _ADMINS | {Role.DEVELOPER}

GRANTS: Mapping[Permission, frozenset[Role]] = {
    Permission.LOOK: frozenset(Role),
    Permission.CALL: _DEVELOPERS,
    Permission.KEYS: _DEVELOPERS,
    Permission.MANAGEMENT_KEYS: _ADMINS,
    Permission.MONEY: _ADMINS | {Role.BILLING},
    Permission.MEMBERS: _ADMINS,
    Permission.OWNERS: _OWNER,
    Permission.CLOSE: _OWNER,
    Permission.ORGANISATION: _ADMINS,
    Permission.OFFERINGS: _DEVELOPERS,
}

WORDS: Mapping[Permission, str | Promise] = {
    Permission.LOOK: gettext_lazy("View everything in the organisation"),
    Permission.CALL: gettext_lazy("Call models in the browser"),
    Permission.KEYS: gettext_lazy("Create, change and revoke keys"),
    Permission.MANAGEMENT_KEYS: gettext_lazy("Create keys for the management API"),
    Permission.MONEY: gettext_lazy("Pay, and set budgets and auto-recharge"),
    Permission.MEMBERS: gettext_lazy("Invite, change and remove members"),
    Permission.OWNERS: gettext_lazy("Add and remove owners"),
    Permission.CLOSE: gettext_lazy("Close the organisation"),
    Permission.ORGANISATION: gettext_lazy("Rename it and read its audit log"),
    Permission.OFFERINGS: gettext_lazy("Publish, price and measure models"),
}
"""Each permission in the words of the pages."""

KEY_ROLE = Role.DEVELOPER
"""The role of a management key."""


def may(user: User | AnonymousUser, organisation: Organisation, permission: Permission) -> bool:
    """Whether a person has the permission in the organisation. A stranger has none."""
    return role_in(user, organisation) in GRANTS[permission]


def demand(request: HttpRequest, organisation: Organisation, permission: Permission) -> None:
    """For pages: raises ``PermissionDenied`` that names the roles with the permission."""
    if not may(request.user, organisation, permission):
        raise PermissionDenied(
            _("This needs one of the roles: %(roles)s.") % {"roles": roles_named(permission)}
        )


def roles_named(permission: Permission) -> str:
    """The roles with the permission, as text."""
    return ", ".join(str(role.label) for role in Role if role in GRANTS[permission])


def permission_over(api_key: ApiKey) -> Permission:
    """The permission needed to change a key."""
    return Permission.MANAGEMENT_KEYS if Scope.MANAGEMENT in api_key.scopes else Permission.KEYS


def permission_over_member(*roles: str) -> Permission:
    """The permission needed to give or take these roles."""
    return Permission.OWNERS if Role.OWNER in roles else Permission.MEMBERS
