"""A person's own settings."""

from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django.views.i18n import set_language

from marketplace.accounts.forms import DeleteForm, ProfileForm
from marketplace.accounts.models import User
from marketplace.accounts.organisations.pages import effects_of_leaving
from marketplace.accounts.services import member_remove, user_delete, user_update
from marketplace.shared.confirming import confirmation, is_confirmed


@require_safe
@login_required
def settings_page(request: HttpRequest) -> HttpResponse:
    """The page of one's own account."""
    return _page(request)


@require_POST
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """Change name and language."""
    user = _person(request)
    form = ProfileForm(request.POST)
    if not form.is_valid():
        return _page(request, profile_form=form, status=422)
    user_update(user=user, **form.cleaned_data)
    return redirect("settings")


@require_POST
@login_required
def leave(request: HttpRequest) -> HttpResponse:
    """Leave an organisation. Its only owner may not."""
    mine = _person(request).memberships.select_related("organisation", "user")
    membership = get_object_or_404(mine, organisation__slug=request.POST.get("slug"))
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Leave %(name)s?") % {"name": membership.organisation.name},
            effects=effects_of_leaving(membership),
            verb=_("Leave"),
            back=reverse("settings"),
        )
    try:
        member_remove(membership=membership)
    except ValidationError as refused:
        return _page(request, error=" ".join(refused.messages), status=422)
    return redirect("settings")


@require_POST
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def delete(request: HttpRequest) -> HttpResponse:
    """Delete one's account, confirmed by the password and the typed address."""
    user = _person(request)
    form = DeleteForm(request.POST, user=user)
    if not form.is_valid():
        return _page(request, delete_form=form, status=422)
    try:
        user_delete(user=User.objects.get(pk=user.pk))
    except ValidationError as refused:
        return _page(request, error=" ".join(refused.messages), status=422)
    logout(request)
    messages.success(request, _("Your account is deleted."))
    return redirect("landing")


@require_POST
def language(request: HttpRequest) -> HttpResponseBase:
    """Django's language switch, which also stores the language with the user."""
    code = request.POST.get("language", "")
    if isinstance(request.user, User) and code in dict(settings.LANGUAGES):
        user_update(user=request.user, language=code)
    return set_language(request)


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("login_required lets only people through")
    return request.user


def _page(
    request: HttpRequest,
    *,
    profile_form: ProfileForm | None = None,
    delete_form: DeleteForm | None = None,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    user = _person(request)
    kinds = list(Authenticator.objects.filter(user=user).values_list("type", flat=True))
    context: dict[str, Any] = {
        "profile_form": profile_form
        or ProfileForm(initial={"full_name": user.full_name, "language": user.language}),
        "delete_form": delete_form or DeleteForm(user=user),
        "error": error,
        "memberships": user.memberships.select_related("organisation").order_by(
            "organisation__slug"
        ),
        "has_totp": Authenticator.Type.TOTP in kinds,
        "passkeys": kinds.count(Authenticator.Type.WEBAUTHN),
        "sessions": UserSession.objects.filter(user=user).count(),
        "connected": SocialAccount.objects.filter(user=user).count(),
    }
    return render(request, "accounts/settings.html", context, status=status)
