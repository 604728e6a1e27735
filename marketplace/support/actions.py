"""What staff do for a customer, in their own name: money, limits and lost keys."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import LIMIT_FIELDS, Organisation, User
from marketplace.accounts.services import api_key_revoke
from marketplace.billing.credit.forms import CreditGrantForm
from marketplace.billing.payments.books.money import nano_of_cents
from marketplace.billing.payments.models import RefundState
from marketplace.billing.payments.refunds import refund_request
from marketplace.billing.payments.services import PaymentsUnavailable
from marketplace.billing.payments.staff import grant_order, write_off_order
from marketplace.billing.services import payout_record
from marketplace.catalog.templatetags.units import usd
from marketplace.shared.confirming import confirmation, is_confirmed
from marketplace.shared.signals import catalog_changed
from marketplace.support.forms import LimitsForm, OrderForm, PayoutForm
from marketplace.support.pages import organisation_page
from marketplace.usage.selectors import calls_lately, calls_lately_text


@require_POST
@staff_required
def credit(request: HttpRequest, slug: str) -> HttpResponse:
    """Grant credit in one's own name; a form that is sent twice grants once."""
    row = get_object_or_404(Organisation, slug=slug)
    form = CreditGrantForm(request.POST)
    if not form.is_valid():
        return organisation_page(request, row, form, status=422)
    try:
        order = grant_order(
            organisation=row,
            amount_nano=nano_of_cents(form.cleaned_data["amount"]),
            reason=form.cleaned_data["reason"],
            ordered_by=_staff(request),
            idem_key=f"support:{form.cleaned_data['once']}",
        )
    except ValidationError as refused:
        form.add_error(None, refused)
        return organisation_page(request, row, form, status=422)
    messages.success(
        request, _("%(amount)s granted.") % {"amount": usd(order.transfer.amount_nano)}
    )
    return redirect("support-organisation", slug)


@require_POST
@staff_required
def limits(request: HttpRequest, slug: str) -> HttpResponse:
    """Set the organisation's limits; routers have them within seconds."""
    row = get_object_or_404(Organisation, slug=slug)
    form = LimitsForm(request.POST, instance=row)
    if not form.is_valid():
        row.refresh_from_db()
        return organisation_page(request, row, CreditGrantForm(), limits_form=form, status=422)
    with transaction.atomic():
        # Nothing else: its admins may have changed the rest meanwhile.
        form.save(commit=False).save(update_fields=LIMIT_FIELDS)
        catalog_changed.send(None)
    messages.success(request, _("The limits are saved."))
    return redirect("support-organisation", slug)


@require_POST
@staff_required
def refund(request: HttpRequest, slug: str, payment_id: UUID) -> HttpResponse:
    """Refund a payment or a part of it, to the card that paid; what is sent twice, once."""
    row = get_object_or_404(Organisation, slug=slug)
    payment = get_object_or_404(row.payments, pk=payment_id)
    form = OrderForm(request.POST)
    if not form.is_valid():
        return _refused(request, row, payment, form)
    cents, reason = form.cleaned_data["amount"], form.cleaned_data["reason"]
    if not is_confirmed(request):
        return _confirm(
            request,
            row,
            _("Refund %(amount)s to the card?") % {"amount": usd(nano_of_cents(cents))},
            [
                _("The amount is taken from the credit of %(name)s.") % {"name": row.name},
                _("What the credit does not cover becomes a debt: calls are refused until paid."),
                _("A refund cannot be taken back."),
            ],
            _("Refund"),
        )
    try:
        made = refund_request(
            payment=payment,
            amount_cents=cents,
            reason=reason,
            requested_by=_staff(request),
            idem_key=f"support:{form.cleaned_data['once']}",
        )
    except (ValidationError, PaymentsUnavailable) as error:
        return _refused(request, row, payment, form, _said(error))
    if made.state == RefundState.FAILED:
        return _refused(request, row, payment, form, [made.failure])
    messages.success(
        request, _("Refund of %(amount)s ordered.") % {"amount": usd(made.amount_nano)}
    )
    return redirect("support-organisation", slug)


@require_POST
@staff_required
def write_off(request: HttpRequest, slug: str) -> HttpResponse:
    """Write off a debt or a part of it; what is sent twice, once."""
    row = get_object_or_404(Organisation, slug=slug)
    form = OrderForm(request.POST)
    if not form.is_valid():
        return _refused(request, row, row, form)
    try:
        order = write_off_order(
            organisation=row,
            amount_nano=nano_of_cents(form.cleaned_data["amount"]),
            reason=form.cleaned_data["reason"],
            ordered_by=_staff(request),
            idem_key=f"support:{form.cleaned_data['once']}",
        )
    except ValidationError as error:
        return _refused(request, row, row, form, error.messages)
    amount = usd(order.transfer.amount_nano)
    messages.success(request, _("%(amount)s written off.") % {"amount": amount})
    return redirect("support-organisation", slug)


@require_POST
@staff_required
def payout(request: HttpRequest, slug: str, provider: str) -> HttpResponse:
    """Record money that was sent to one of the organisation's providers."""
    row = get_object_or_404(Organisation, slug=slug)
    payee = get_object_or_404(row.providers, slug=provider)
    form = PayoutForm(request.POST)
    if not form.is_valid():
        return _refused(request, row, payee, form)
    try:
        made = payout_record(
            provider=payee,
            amount_nano=form.amount_nano,
            reference=form.cleaned_data["reference"],
            ordered_by=_staff(request),
        )
    except ValidationError as error:
        return _refused(request, row, payee, form, error.messages)
    messages.success(
        request,
        _("Payout of %(amount)s to %(name)s recorded.")
        % {"amount": usd(made.amount_nano), "name": payee.name},
    )
    return redirect("support-organisation", slug)


@require_POST
@staff_required
def key_revoke(request: HttpRequest, slug: str, key_id: int) -> HttpResponse:
    """Revoke a key that leaked."""
    row = get_object_or_404(Organisation, slug=slug)
    key = get_object_or_404(row.api_keys, pk=key_id, disabled_at=None)
    if not is_confirmed(request):
        calls = calls_lately(organisation_id=row.pk, key_id=key.pk)
        return _confirm(
            request,
            row,
            _("Revoke “%(name)s” permanently?") % {"name": key.name},
            [
                _("Calls with %(key)s are refused within two seconds.") % {"key": key.masked},
                _("It made:") + " " + calls_lately_text(calls),
            ],
            _("Revoke"),
        )
    api_key_revoke(api_key=key)
    messages.success(request, _("“%(name)s” is revoked.") % {"name": key.name})
    return redirect("support-organisation", slug)


def _confirm(
    request: HttpRequest, row: Organisation, question: str, effects: Sequence[str], verb: str
) -> HttpResponse:
    back = reverse("support-organisation", args=(row.slug,))
    return confirmation(request, question=question, effects=effects, verb=verb, back=back)


def _refused(
    request: HttpRequest, row: Organisation, of: Model, form: Form, problems: Sequence[str] = ()
) -> HttpResponse:
    if problems:
        # What is sent again is another order: this one may be known, with another amount or failed.
        form = type(form)({**request.POST.dict(), "once": str(uuid4())})
        form.full_clean()
        for problem in problems:
            form.add_error(None, problem)
    # The page has several of these forms.
    form.auto_id = False
    return organisation_page(request, row, CreditGrantForm(), sent_to=of, sent=form, status=422)


def _said(error: ValidationError | PaymentsUnavailable) -> Sequence[str]:
    return error.messages if isinstance(error, ValidationError) else [str(error)]


def _staff(request: HttpRequest) -> User:
    return request.user  # type: ignore[return-value]  # `staff_required` has seen to it
