"""Sessions that are over are forgotten, and the addresses that they came from."""

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session

from marketplace.accounts.sessions.store import SessionStore
from marketplace.shared.jobs.periodic import Queue, daily

FORGOTTEN_AT = (3,)


@daily(FORGOTTEN_AT, queue=Queue.WORK)
def forget_sessions() -> int:
    """Delete sessions that expired, and where people were signed in; returns how many were."""
    SessionStore.clear_expired()
    kept = Session.objects.values("session_key")
    return UserSession.objects.exclude(session_key__in=kept).delete()[0]
