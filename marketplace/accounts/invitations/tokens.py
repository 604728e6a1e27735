"""Invitation links: signed against forgery, and numbered, so that only the last is valid."""

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse

from marketplace.accounts.models import Invitation

SALT = "marketplace.accounts.invitation"
SESSION_KEY = "invitation"
"""Session key that keeps the token while the invited person signs in or up."""


def invitation_token(invitation: Invitation) -> str:
    """The token in the link: the invitation's id and how often it was sent."""
    return signing.dumps([invitation.pk, invitation.sends], salt=SALT)


def invitation_url(invitation: Invitation) -> str:
    """The whole link."""
    path = reverse("invitation", args=[invitation_token(invitation)])
    return f"{settings.WAYPOST_PUBLIC_URL}{path}"


def invitation_of(token: str) -> Invitation | None:
    """The invitation of a link, in any state; None for a forged or superseded link."""
    try:
        pk, sends = signing.loads(token, salt=SALT)
    except (signing.BadSignature, TypeError, ValueError):
        return None
    found = Invitation.objects.select_related("organisation", "invited_by")
    return found.filter(pk=pk, sends=sends).first()


def invitation_waiting(request: HttpRequest) -> Invitation | None:
    """The open invitation whose link was followed in this session."""
    token = request.session.get(SESSION_KEY, "")
    invitation = invitation_of(token) if token else None
    return invitation if invitation is not None and invitation.status == "open" else None
