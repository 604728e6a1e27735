"""The payment forms of the Billing page, and the page that people return to from Stripe."""

import uuid

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand
from marketplace.billing.models import PaymentProfile
from marketplace.billing.pages import billing_page
from marketplace.billing.payments.forms import AutoRechargeForm, TopupForm
from marketplace.billing.payments.recharge import auto_recharge_set, card_forget
from marketplace.billing.payments.selectors import payments_of
from marketplace.billing.payments.services import PaymentsUnavailable, topup_begin
from marketplace.shared.confirming import confirmation, is_confirmed


@require_POST
@organisation_required
def topup(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Begin a payment and redirect to Stripe's page."""
    demand(request, organisation, Permission.MONEY)
    form = TopupForm(request.POST)
    if not form.is_valid():
        return billing_page(request, organisation, status=422, topup_form=form)
    try:
        checkout = topup_begin(
            organisation=organisation,
            amount_cents=form.cleaned_data["amount"],
            save_card=form.cleaned_data["save_card"],
            created_by=request.user,  # type: ignore[arg-type] # login_required
        )
    except ValidationError as error:
        form.add_error(None, error)
        return billing_page(request, organisation, status=422, topup_form=form)
    except PaymentsUnavailable as error:
        form.add_error(None, str(error))
        return billing_page(request, organisation, status=503, topup_form=form)
    return HttpResponseRedirect(checkout.url)


@require_safe
@organisation_required
def payment(
    request: HttpRequest, organisation: Organisation, payment_id: uuid.UUID
) -> HttpResponse:
    """The state of a payment. Returning from Stripe proves nothing: only Stripe's event does."""
    found = get_object_or_404(payments_of(organisation), pk=payment_id)
    return render(request, "billing/payment.html", {"payment": found})


@require_POST
@organisation_required
def auto_recharge(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Set the rule of auto-recharge."""
    demand(request, organisation, Permission.MONEY)
    form = AutoRechargeForm(request.POST)
    if not form.is_valid():
        return billing_page(request, organisation, status=422, recharge_form=form)
    try:
        auto_recharge_set(
            organisation=organisation,
            enabled=form.cleaned_data["enabled"],
            threshold_cents=form.cleaned_data["threshold"],
            amount_cents=form.cleaned_data["amount"],
            cap_cents=form.cleaned_data["cap"],
            changed_by=request.user,  # type: ignore[arg-type] # login_required
        )
    except ValidationError as error:
        form.add_error(None, error)
        return billing_page(request, organisation, status=422, recharge_form=form)
    return redirect("billing")


@require_POST
@organisation_required
def card_remove(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Forget the kept card."""
    demand(request, organisation, Permission.MONEY)
    get_object_or_404(PaymentProfile, organisation=organisation)
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Remove the card?"),
            effects=[
                _("Auto-recharge ends: calls are refused once the credit is used up."),
                _("You can save a card again with your next top-up."),
            ],
            verb=_("Remove the card"),
            back=reverse("billing"),
        )
    card_forget(organisation=organisation)
    return redirect("billing")
