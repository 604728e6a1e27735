"""The link of an invitation: signed against making one up, and counted, so that one is valid."""

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse

from marketplace.accounts.models import Invitation

SALT = "marketplace.accounts.invitation"
SESSION_KEY = "invitation"
"""Where the token waits while the invited signs in or up."""


def invitation_token(invitation: Invitation) -> str:
    """What the link carries: the invitation and which of its sendings."""
    return signing.dumps([invitation.pk, invitation.sends], salt=SALT)


def invitation_url(invitation: Invitation) -> str:
    """The whole link."""
    path = reverse("invitation", args=[invitation_token(invitation)])
    return f"{settings.WAYPOST_PUBLIC_URL}{path}"


def invitation_of(token: str) -> Invitation | None:
    """The invitation that a link is for, whatever became of it; None for a link not in force."""
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
