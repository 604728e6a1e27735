"""The page that closes an organisation."""

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand
from marketplace.closing.forms import CloseForm
from marketplace.closing.selectors import closing_of
from marketplace.closing.services import closing_check, organisation_close


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def close(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What closing it means; confirmed by the password and the typed name, it is closed."""
    demand(request, organisation, Permission.CLOSE)
    answer: HttpResponse = _close(request, organisation)
    return answer


@reauthentication_required(allow_get=True)  # type: ignore[untyped-decorator]
def _close(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    if not isinstance(request.user, User):
        raise TypeError("organisation_required lets only people through")
    form = CloseForm(request.POST or None, organisation=organisation)
    error = ""
    try:
        closing_check(organisation)
        if form.is_valid():
            organisation_close(organisation=organisation, by=request.user)
            messages.success(request, _("%(name)s is closed.") % {"name": organisation.name})
            return redirect("settings")
    except ValidationError as refused:
        error = " ".join(refused.messages)
    context = {"form": form, "closing": closing_of(organisation), "error": error}
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/close.html", context, status=status)
