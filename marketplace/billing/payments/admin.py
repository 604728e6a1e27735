"""Payments in Django's admin: read-only, except to order refunds, grants and write-offs.

Adding a row is the order. It names the person and the reason, and never changes.
"""

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.accounts.models import Organisation
from marketplace.billing.models import TransferKind
from marketplace.billing.payments.books.money import nano_of_cents
from marketplace.billing.payments.forms import OnceField, UsdField
from marketplace.billing.payments.models import (
    AutoRecharge,
    Dispute,
    Payment,
    Refund,
    StaffTransfer,
    StripeEvent,
)
from marketplace.billing.payments.refunds import (
    refund_amount_check,
    refund_open,
    refund_submit_or_later,
)
from marketplace.billing.payments.services import PaymentsUnavailable, payments_are_on
from marketplace.billing.payments.staff import (
    debt_amount_check,
    grant_order,
    write_off_order,
)
from marketplace.shared.admin import ReadOnlyAdmin


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = ["id", "organisation", "purpose", "state", "amount_cents", "created_at"]
    list_select_related = ["organisation"]
    list_filter = ["state", "purpose"]
    search_fields = ["organisation__slug", "intent_id", "session_id"]


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    list_display = ["stripe_id", "payment", "state", "amount_cents", "reason", "created_at"]
    list_select_related = ["payment"]
    list_filter = ["state"]


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin):
    list_display = ["event_id", "kind", "verdict", "created_at", "received_at"]
    list_filter = ["verdict", "kind"]
    search_fields = ["event_id"]


@admin.register(AutoRecharge)
class AutoRechargeAdmin(ReadOnlyAdmin):
    list_display = ["organisation", "enabled", "amount_cents", "cap_cents", "failures", "failure"]
    list_select_related = ["organisation"]
    list_filter = ["enabled"]


class OrderAdmin(ReadOnlyAdmin):
    """Staff with the permission to add may order; nobody may change or delete."""

    form: type[forms.ModelForm]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        if obj is None:
            return list(self.form.base_fields)
        return [field.name for field in self.opts.fields]


class RefundForm(forms.ModelForm):
    """The payment, the amount and the reason."""

    amount = UsdField(label=gettext_lazy("Amount in US dollars"))
    once = OnceField()

    class Meta:
        model = Refund
        fields = ["payment", "reason"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        try:
            payments_are_on()
        except PaymentsUnavailable as off:
            raise ValidationError(str(off)) from off
        if "payment" in values and "amount" in values:
            refund_amount_check(values["payment"], values["amount"])
        return values


@admin.register(Refund)
class RefundAdmin(OrderAdmin):
    form = RefundForm
    list_display = ["id", "payment", "state", "amount_cents", "requested_by", "reason"]
    list_select_related = ["payment", "requested_by"]
    list_filter = ["state"]
    search_fields = ["stripe_id", "payment__organisation__slug"]
    raw_id_fields = ["payment"]

    def save_model(self, request: HttpRequest, obj: Refund, form: Any, change: bool) -> None:
        made = refund_open(
            payment=obj.payment,
            amount_cents=form.cleaned_data["amount"],
            reason=obj.reason,
            requested_by=request.user,  # type: ignore[arg-type]  # an admin is a User
            idem_key=_idem_key(form, obj.payment),
        )
        obj.pk = made.pk
        # After commit, so that Stripe is asked only for a stored order.
        transaction.on_commit(partial(refund_submit_or_later, refund=made))


class StaffTransferForm(forms.ModelForm):
    """The organisation, the amount and the reason."""

    kind = forms.ChoiceField(
        choices=[(kind.value, kind.label) for kind in (TransferKind.GRANT, TransferKind.WRITE_OFF)],
        label=gettext_lazy("What"),
    )
    amount = UsdField(label=gettext_lazy("Amount in US dollars"), min_value=0)
    once = OnceField()

    class Meta:
        model = StaffTransfer
        fields = ["organisation", "reason"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        amount_nano = nano_of_cents(values.get("amount") or 0)
        if amount_nano <= 0:
            raise ValidationError({"amount": _("An amount is above zero.")})
        if values.get("kind") == TransferKind.WRITE_OFF and "organisation" in values:
            debt_amount_check(values["organisation"], amount_nano)
        return values


@admin.register(StaffTransfer)
class StaffTransferAdmin(OrderAdmin):
    form = StaffTransferForm
    list_display = ["transfer", "kind", "organisation", "amount_nano", "ordered_by", "reason"]
    list_select_related = ["transfer", "organisation", "ordered_by"]
    list_filter = ["transfer__kind"]
    search_fields = ["organisation__slug", "reason", "ordered_by__email"]
    autocomplete_fields = ["organisation"]

    @admin.display(description=gettext_lazy("What"))
    def kind(self, row: StaffTransfer) -> str:
        return str(TransferKind(row.transfer.kind).label)

    def amount_nano(self, row: StaffTransfer) -> int:
        return row.transfer.amount_nano

    def save_model(self, request: HttpRequest, obj: StaffTransfer, form: Any, change: bool) -> None:
        order = grant_order if form.cleaned_data["kind"] == TransferKind.GRANT else write_off_order
        made = order(
            organisation=form.cleaned_data["organisation"],
            amount_nano=nano_of_cents(form.cleaned_data["amount"]),
            reason=obj.reason,
            ordered_by=request.user,  # type: ignore[arg-type]  # an admin is a User
            idem_key=_idem_key(form, form.cleaned_data["organisation"]),
        )
        obj.pk = made.pk


def _idem_key(form: Any, whose: Payment | Organisation) -> str:
    """Who goes back and changes what is ordered orders another time."""
    return f"admin:{form.cleaned_data['once']}:{whose.pk}:{form.cleaned_data['amount']}"
