"""Services that create, resend, revoke and accept invitations."""

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.invitations.tokens import invitation_url
from marketplace.accounts.models import (
    INVITATION_TTL,
    Invitation,
    Membership,
    Organisation,
    Role,
    User,
)

log = logging.getLogger(__name__)

DAY = timedelta(days=1)
INVITATIONS_OPEN_MAX = 100
"""Open invitations of one organisation at most."""
INVITATIONS_A_DAY_MAX = 200
"""Made in a day by one organisation, or by one person for any, revoked ones too: nobody sends spam
in our name."""
INVITATION_SENDS_MAX = 10
"""Mails sent for one invitation at most."""


@transaction.atomic
def invitation_create(
    *, organisation: Organisation, email: str, role: Role, invited_by: User | None
) -> Invitation:
    """Invite an address to join, by mail where mail is set up.

    Raises ``ValidationError`` for a member, an address already invited, or too many of them.
    """
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    email = User.objects.normalize_email(email.strip())
    if organisation.memberships.filter(user__email__iexact=email).exists():
        raise ValidationError({"email": _("%(email)s is already a member.") % {"email": email}})
    unanswered = organisation.invitations.filter(accepted_at=None, revoked_at=None)
    for lapsed in unanswered.filter(email__iexact=email, expires_at__lte=timezone.now()):
        invitation_revoke(invitation=lapsed)
    if unanswered.filter(email__iexact=email).exists():
        raise ValidationError(
            {
                "email": _("%(email)s is already invited: send the invitation again below.")
                % {"email": email}
            }
        )
    if unanswered.filter(expires_at__gt=timezone.now()).count() >= INVITATIONS_OPEN_MAX:
        raise ValidationError(
            _("No more than %(n)d invitations may be open at once: revoke some first.")
            % {"n": INVITATIONS_OPEN_MAX}
        )
    made = Q(organisation=organisation)
    if invited_by is not None:
        made |= Q(invited_by=invited_by)
    lately = Invitation.objects.filter(made, created_at__gt=timezone.now() - DAY)
    if lately.count() >= INVITATIONS_A_DAY_MAX:
        raise ValidationError(
            _("No more than %(n)d invitations a day: go on tomorrow.")
            % {"n": INVITATIONS_A_DAY_MAX}
        )
    invitation = Invitation(
        organisation=organisation,
        email=email,
        role=role,
        invited_by=invited_by,
        expires_at=timezone.now() + INVITATION_TTL,
    )
    invitation.full_clean()
    invitation.save()
    _mail(invitation)
    return invitation


@transaction.atomic
def invitation_resend(*, invitation: Invitation) -> Invitation:
    """Send a new link, valid for a week; the last one is void. Raises where it is not open."""
    invitation = _locked(invitation)
    _demand_unanswered(invitation)
    if invitation.sends >= INVITATION_SENDS_MAX:
        raise ValidationError(
            _("It was sent %(n)d times: revoke it and ask the person another way.")
            % {"n": invitation.sends}
        )
    invitation.sends += 1
    invitation.expires_at = timezone.now() + INVITATION_TTL
    invitation.save(update_fields=["sends", "expires_at"])
    _mail(invitation)
    return invitation


@transaction.atomic
def invitation_revoke(*, invitation: Invitation) -> Invitation:
    """Revoke the invitation; its link no longer works."""
    invitation = _locked(invitation)
    _demand_unanswered(invitation)
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    return invitation


@transaction.atomic
def invitation_accept(*, invitation: Invitation, user: User) -> Membership:
    """Make the invited person a member. Somebody who is one already keeps their role.

    Raises ``ValidationError`` where it is not open, or is for another address than the user's.
    """
    invitation = _locked(invitation)
    _demand_unanswered(invitation)
    if invitation.status == "expired":
        raise ValidationError(_("This invitation has expired: ask for it to be sent again."))
    if user.email.lower() != invitation.email.lower():
        raise ValidationError(
            _("This invitation is for %(email)s: sign in with that address to accept it.")
            % {"email": invitation.email}
        )
    membership, _created = Membership.objects.get_or_create(
        organisation=invitation.organisation, user=user, defaults={"role": invitation.role}
    )
    invitation.accepted_at, invitation.accepted_by = timezone.now(), user
    invitation.save(update_fields=["accepted_at", "accepted_by"])
    return membership


def _locked(invitation: Invitation) -> Invitation:
    rows = Invitation.objects.select_for_update(of=("self",))
    return rows.select_related("organisation", "invited_by").get(pk=invitation.pk)


def _demand_unanswered(invitation: Invitation) -> None:
    if invitation.accepted_at is not None:
        raise ValidationError(_("This invitation was already accepted."))
    if invitation.revoked_at is not None:
        raise ValidationError(_("This invitation was revoked."))


def _mail(invitation: Invitation) -> None:
    """Call it last in the transaction: a mail that fails rolls everything back."""
    if not settings.MAIL_ON:
        return
    context: dict[str, Any] = {"invitation": invitation, "url": invitation_url(invitation)}
    subject = " ".join(render_to_string("accounts/email/invitation_subject.txt", context).split())
    body = render_to_string("accounts/email/invitation_message.txt", context)
    try:
        send_mail(subject, body, settings.DEFAULT_FROM_EMAIL, [invitation.email])
    except OSError as error:
        log.exception("the mail of invitation %s was not taken", invitation.pk)
        raise ValidationError(
            _(
                "The email could not be sent: try again in a few minutes, or ask the operator "
                "of this site."
            )
        ) from error
