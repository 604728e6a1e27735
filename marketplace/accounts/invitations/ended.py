"""Ends the invitations of a person who may no longer make them."""

from typing import Any

from django.db.models.signals import post_save, pre_delete

from marketplace.accounts.invitations.services import invitation_revoke
from marketplace.accounts.models import Membership
from marketplace.accounts.permissions import GRANTS, permission_over_member


def connect() -> None:
    """Connect the signals, so that pages, the API and the admin all end them."""
    # Before the deletion: with the person, an invitation loses who made it.
    pre_delete.connect(_left, sender=Membership)
    post_save.connect(_role_changed, sender=Membership)


def _left(instance: Membership, **_: Any) -> None:
    _revoke(instance)


def _role_changed(instance: Membership, created: bool, **_: Any) -> None:
    if not created:
        _revoke(instance, role=instance.role)


def _revoke(membership: Membership, role: str = "") -> None:
    """Revoke what the person may not give with this role; everything without one."""
    made = membership.organisation.invitations.filter(invited_by=membership.user_id)
    for invitation in made.filter(accepted_at=None, revoked_at=None):
        if role not in GRANTS[permission_over_member(invitation.role)]:
            invitation_revoke(invitation=invitation)
