"""Ends router tokens early when the session or membership they were issued for ends."""

import time
from collections.abc import Iterable
from typing import Any

from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest

from marketplace.accounts.models import Membership, User
from marketplace.accounts.permissions import GRANTS, Permission
from marketplace.accounts.services import sessions_end
from marketplace.accounts.sessions.store import SessionStore

TOKENS_UNTIL = "router_tokens_until"
"""Session key: when the last router token issued to this browser expires (Unix seconds)."""


def connect() -> None:
    """Connect the signals, so that pages, the API and the admin all end tokens."""
    user_logged_out.connect(_logged_out)
    post_delete.connect(_left, sender=Membership)
    post_save.connect(_role_changed, sender=Membership)
    post_save.connect(_user_changed, sender=User)


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
    # Django keeps the text of a new password until it is saved, whoever sets it; its stubs do not.
    is_new = instance._password is not None  # type: ignore[attr-defined]
    if not created and (not instance.is_active or is_new):
        sessions_end(user_id=instance.pk)


class SessionsAdapter(DefaultUserSessionsAdapter):
    """Ends the tokens of sessions that are ended from another one: no signal tells of those."""

    def end_sessions(self, sessions: Iterable[UserSession]) -> None:
        for session in sessions:
            if SessionStore(session.session_key).get(TOKENS_UNTIL, 0) > time.time():
                sessions_end(user_id=session.user_id, session_key=session.session_key)
            session.end()
