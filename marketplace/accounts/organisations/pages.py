"""Pages of an organisation: name, members, invitations, and the welcome page of a new user."""

from dataclasses import dataclass
from typing import Any

from allauth.account.adapter import get_adapter
from django import forms
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.forms import InvitationForm, OrganisationForm, RoleForm
from marketplace.accounts.invitations.services import (
    invitation_accept,
    invitation_create,
    invitation_resend,
    invitation_revoke,
)
from marketplace.accounts.invitations.tokens import (
    SESSION_KEY as INVITATION_KEY,
)
from marketplace.accounts.invitations.tokens import (
    invitation_of,
    invitation_url,
    invitation_waiting,
)
from marketplace.accounts.models import Invitation, Mask, Membership, Organisation, Role, User
from marketplace.accounts.organisations.current import SESSION_KEY, organisation_required
from marketplace.accounts.organisations.new_key import new_key_keep
from marketplace.accounts.permissions import (
    GRANTS,
    WORDS,
    Permission,
    demand,
    may,
    permission_over_member,
)
from marketplace.accounts.services import (
    api_key_create,
    member_remove,
    member_set,
    organisation_found,
    organisation_keep_responses,
    organisation_list_apps,
    organisation_mask,
    organisation_rename,
)
from marketplace.accounts.signals import leaving_asked
from marketplace.shared.confirming import confirmation, is_confirmed

LISTED_MAX = 200
"""Members, and invitations, on the page at most; the API has all."""


@dataclass(frozen=True, slots=True)
class InvitationRow:
    """An invitation in the list; ``url`` is set only where there is no mail to carry it."""

    invitation: Invitation
    may_change: bool
    url: str


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member in the list, and whether the viewer may change them."""

    membership: Membership
    may_change: bool


@require_safe
@organisation_required
def organisation(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Members, invitations and rate limits."""
    return organisation_page(request, organisation)


@require_POST
@organisation_required
def rename(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Rename the organisation."""
    demand(request, organisation, Permission.ORGANISATION)
    form = OrganisationForm(request.POST)
    if not form.is_valid():
        return organisation_page(request, organisation, name_form=form, status=422)
    organisation_rename(organisation=organisation, name=form.cleaned_data["name"])
    return redirect("organisation")


@require_POST
@organisation_required
def responses(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Have responses kept, or not."""
    demand(request, organisation, Permission.ORGANISATION)
    organisation_keep_responses(organisation=organisation, keeps="keep" in request.POST)
    return redirect("organisation")


@require_POST
@organisation_required
def apps(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Have its applications in public rankings, or not."""
    demand(request, organisation, Permission.ORGANISATION)
    organisation_list_apps(organisation=organisation, lists="list" in request.POST)
    return redirect("organisation")


@require_POST
@organisation_required
def masks(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Have kinds of personal data masked in its calls."""
    demand(request, organisation, Permission.ORGANISATION)
    wanted = [mask.value for mask in Mask if mask.value in request.POST.getlist("masks")]
    organisation_mask(organisation=organisation, masks=wanted)
    return redirect("organisation")


@require_POST
@organisation_required
def member_role(request: HttpRequest, organisation: Organisation, member_id: int) -> HttpResponse:
    """Change a member's role."""
    demand(request, organisation, Permission.MEMBERS)
    membership = get_object_or_404(organisation.memberships.select_related("user"), pk=member_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        return organisation_page(request, organisation, error=_("There is no such role."))
    role = Role(form.cleaned_data["role"])
    demand(request, organisation, permission_over_member(membership.role, role))
    try:
        member_set(organisation=organisation, user=membership.user, role=role)
    except ValidationError as refused:
        return organisation_page(request, organisation, error=" ".join(refused.messages))
    return redirect("organisation")


@require_POST
@organisation_required
def member_removal(
    request: HttpRequest, organisation: Organisation, member_id: int
) -> HttpResponse:
    """End a membership."""
    demand(request, organisation, Permission.MEMBERS)
    membership = get_object_or_404(organisation.memberships.select_related("user"), pk=member_id)
    demand(request, organisation, permission_over_member(membership.role))
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Remove %(who)s from %(name)s?")
            % {"who": membership.user.email, "name": organisation.name},
            effects=effects_of_leaving(membership),
            verb=_("Remove"),
            back=reverse("organisation"),
        )
    try:
        member_remove(membership=membership)
    except ValidationError as refused:
        return organisation_page(request, organisation, error=" ".join(refused.messages))
    return redirect("organisation")


@require_POST
@organisation_required
def invite(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Invite somebody."""
    demand(request, organisation, Permission.MEMBERS)
    form = InvitationForm(request.POST)
    if form.is_valid():
        role = Role(form.cleaned_data["role"])
        demand(request, organisation, permission_over_member(role))
        try:
            invitation_create(
                organisation=organisation,
                email=form.cleaned_data["email"],
                role=role,
                invited_by=_person(request),
            )
        except ValidationError as refused:
            form.add_error("email", forms.ValidationError(refused.messages))
        else:
            return redirect("organisation")
    return organisation_page(request, organisation, form=form, status=422)


@require_POST
@organisation_required
def invitation_change(
    request: HttpRequest, organisation: Organisation, invitation_id: int, action: str
) -> HttpResponse:
    """Resend or revoke an invitation."""
    demand(request, organisation, Permission.MEMBERS)
    invitation = get_object_or_404(organisation.invitations, pk=invitation_id)
    demand(request, organisation, permission_over_member(invitation.role))
    verb = {"resend": invitation_resend, "revoke": invitation_revoke}[action]
    try:
        verb(invitation=invitation)
    except ValidationError as refused:
        return organisation_page(request, organisation, error=" ".join(refused.messages))
    return redirect("organisation")


@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """The page behind an invitation's link, with a button to accept."""
    found = invitation_of(token)
    if found is None:
        return render(request, "accounts/invitation.html", {"invitation": None}, status=404)
    if request.user.is_anonymous and found.status == "open":
        # The session keeps the token over signing in or up, and it opens sign-up.
        request.session[INVITATION_KEY] = token
    context: dict[str, Any] = {"invitation": found, "status": found.status}
    if request.method == "POST" and isinstance(request.user, User):
        try:
            membership = invitation_accept(invitation=found, user=request.user)
        except ValidationError as refused:
            context["error"] = " ".join(refused.messages)
            return render(request, "accounts/invitation.html", context, status=422)
        request.session.pop(INVITATION_KEY, None)
        request.session[SESSION_KEY] = membership.organisation.slug
        return redirect("organisation")
    context["is_for_me"] = (
        isinstance(request.user, User) and request.user.email.lower() == found.email.lower()
    )
    return render(request, "accounts/invitation.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def welcome(request: HttpRequest) -> HttpResponse:
    """A new user's first page: accept the invitation they followed, or found an organisation.

    The founder gets a key with it, which the next page shows: that of the first call, or ``next``.
    """
    waiting = invitation_waiting(request)
    if request.method != "POST" and waiting is not None:
        # Once: it may be for another address, or not be wanted.
        return redirect("invitation", request.session.pop(INVITATION_KEY))
    person = _person(request)
    form = OrganisationForm(request.POST or None, initial={"name": _suggested_name(person)})
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                made = organisation_found(
                    name=form.cleaned_data["name"], slug=form.slug(), owner=person
                )
                _row, key = api_key_create(
                    organisation=made, name=_("First key"), created_by=person
                )
        except ValidationError as refused:
            form.add_error("name", refused.messages)
        else:
            request.session[SESSION_KEY] = made.slug
            new_key_keep(request, made, key)
            elsewhere = request.GET.get("next", "")
            return redirect(elsewhere if get_adapter().is_safe_url(elsewhere) else "start")
    status = 422 if form.is_bound else 200
    return render(request, "accounts/welcome.html", {"form": form}, status=status)


def effects_of_leaving(membership: Membership) -> list[str]:
    """Sentences about what ends with a membership, and what stays."""
    organisation, user = membership.organisation, membership.user
    keys = organisation.api_keys.filter(created_by=user, disabled_at=None).count()
    asked = organisation.invitations.filter(invited_by=user, accepted_at=None, revoked_at=None)
    return [
        _(
            "Their pages, playground and API access end within two seconds; "
            "coming back takes a new invitation."
        ),
        *(str(effect) for _receiver, effect in leaving_asked.send(None, membership=membership)),
        ngettext(
            "%(n)s key that they created stays with the organisation and keeps working.",
            "%(n)s keys that they created stay with the organisation and keep working.",
            keys,
        )
        % {"n": keys},
        *([_invitations_ended(asked.count())] if asked.exists() else []),
    ]


def _invitations_ended(n: int) -> str:
    return ngettext(
        "%(n)s invitation that they sent is revoked.",
        "%(n)s invitations that they sent are revoked.",
        n,
    ) % {"n": n}


def _suggested_name(person: User) -> str:
    return person.full_name or person.email.partition("@")[0]


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("login_required lets only people through")
    return request.user


def organisation_page(
    request: HttpRequest,
    organisation: Organisation,
    *,
    form: InvitationForm | None = None,
    name_form: OrganisationForm | None = None,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page; a form that was refused is shown as sent."""
    allowed = {permission: may(request.user, organisation, permission) for permission in Permission}
    memberships = organisation.memberships.select_related("user").order_by("user__email")
    invitations = organisation.invitations.filter(accepted_at=None, revoked_at=None)
    context = {
        "form": form or InvitationForm(),
        "name_form": name_form or OrganisationForm(initial={"name": organisation.name}),
        "error": error,
        "members": [
            MemberRow(membership, allowed[permission_over_member(membership.role)])
            for membership in memberships[:LISTED_MAX]
        ],
        "members_count": memberships.count(),
        "invitations": [
            _invitation_row(invitation, allowed[permission_over_member(invitation.role)])
            for invitation in invitations.select_related("invited_by")[:LISTED_MAX]
        ],
        "roles": [role for role in Role if role != Role.OWNER or allowed[Permission.OWNERS]],
        "grants": _grants(),
        "organisation": organisation,
        "masks": [(mask, mask in organisation.masks) for mask in Mask],
        "may_change": allowed[Permission.MEMBERS],
        "may_rename": allowed[Permission.ORGANISATION],
        "may_close": allowed[Permission.CLOSE],
    }
    code = 422 if error else status
    return render(request, "accounts/organisation.html", context, status=code)


def _invitation_row(invitation: Invitation, may_change: bool) -> InvitationRow:
    # Where there is no mail nobody proves an address: who has the link can take the role.
    handed_over = may_change and not settings.MAIL_ON and invitation.status == "open"
    return InvitationRow(invitation, may_change, invitation_url(invitation) if handed_over else "")


def _grants() -> list[tuple[str, list[bool]]]:
    return [
        (str(WORDS[permission]), [role in GRANTS[permission] for role in Role])
        for permission in Permission
    ]
