"""Ends router tokens early when the session or membership they were issued for ends."""

import time
from typing import Any

from allauth.account import signals as allauth_signals
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest

from marketplace.accounts.models import Membership, User
from marketplace.accounts.permissions import GRANTS, Permission
from marketplace.accounts.services import sessions_end

TOKENS_UNTIL = "router_tokens_until"
"""Session key: when the last router token issued to this browser expires (Unix seconds)."""


def connect() -> None:
    """Connect the signals, so that pages, the API and the admin all end tokens."""
    user_logged_out.connect(_logged_out)
    post_delete.connect(_left, sender=Membership)
    post_save.connect(_role_changed, sender=Membership)
    post_save.connect(_user_changed, sender=User)
    allauth_signals.password_changed.connect(_password_changed)
    allauth_signals.password_set.connect(_password_changed)
    allauth_signals.password_reset.connect(_password_changed)


def _logged_out(request: HttpRequest | None, user: User | None, **_: Any) -> None:
    if request is None or user is None:
        return
    if request.session.get(TOKENS_UNTIL, 0) > time.time():
        sessions_end(user_id=user.pk, session_key=request.session.session_key)


def _left(instance: Membership, **_: Any) -> None:
    sessions_end(user_id=instance.user_id, organisation_id=instance.organisation_id)


def _role_changed(instance: Membership, created: bool, **_: Any) -> None:
    if not created and instance.role not in GRANTS[Permission.CALL]:
        _left(instance)


def _user_changed(instance: User, created: bool, **_: Any) -> None:
    if not created and not instance.is_active:
        sessions_end(user_id=instance.pk)


def _password_changed(user: User, **_: Any) -> None:
    sessions_end(user_id=user.pk)
