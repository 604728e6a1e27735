"""The request for credit on the Billing page, and the page where staff answer."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand
from marketplace.billing.credit.forms import CreditRequestForm
from marketplace.billing.credit.models import CreditRequest, CreditRequestState
from marketplace.billing.credit.services import (
    credit_request,
    credit_request_decline,
    credit_request_grant,
)
from marketplace.billing.pages import ROWS_PER_PAGE, billing_page


@require_POST
@organisation_required
def ask(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Send a request for credit to staff."""
    demand(request, organisation, Permission.MONEY)
    form = CreditRequestForm(request.POST)
    if form.is_valid():
        try:
            credit_request(
                organisation=organisation,
                amount_cents=form.cleaned_data["amount"],
                reason=form.cleaned_data["reason"],
                requested_by=request.user,  # type: ignore[arg-type]  # organisation_required
            )
        except ValidationError as refused:
            form.add_error(None, refused)
        else:
            return redirect("billing")
    return billing_page(request, organisation, status=422, credit_form=form)


@require_safe
@staff_required
def requests(request: HttpRequest) -> HttpResponse:
    """Waiting requests, oldest first, and recent answers."""
    rows = CreditRequest.objects.select_related("organisation", "requested_by", "answered_by")
    context = {
        "waiting": rows.filter(state=CreditRequestState.OPEN).order_by("id")[:ROWS_PER_PAGE],
        "answered": rows.exclude(state=CreditRequestState.OPEN)[:ROWS_PER_PAGE],
    }
    return render(request, "billing/credit_requests.html", context)


@require_POST
@staff_required
def answer(request: HttpRequest, request_id: int, action: str) -> HttpResponse:
    """Grant or decline a request. If it is already answered, the answer stays and is shown.

    Goes back to the page it was answered on: the list, or the customer's.
    """
    row = get_object_or_404(CreditRequest.objects.select_related("organisation"), pk=request_id)
    verb = {"grant": credit_request_grant, "decline": credit_request_decline}[action]
    try:
        row = verb(request_id=request_id, answered_by=request.user)  # type: ignore[arg-type]
    except ValidationError as refused:
        messages.error(request, " ".join(refused.messages))
    else:
        messages.success(
            request,
            _("%(organisation)s: %(state)s.")
            % {"organisation": row.organisation.name, "state": row.get_state_display()},
        )
    if "on_customer" in request.POST:
        return redirect("support-organisation", row.organisation.slug)
    return redirect("credit-requests")
