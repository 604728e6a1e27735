"""The ledger in Django's admin: read-only, except for payouts and budgets, which services write."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import User
from marketplace.billing.budgets.services import budget_holder_check, budget_remove, budget_set
from marketplace.billing.invoices.models import Statement
from marketplace.billing.models import (
    Account,
    Budget,
    Lease,
    Payout,
    ReconciliationReport,
    Transfer,
    Window,
    WriteOff,
)
from marketplace.billing.payments import admin as payments  # noqa: F401 - registers its pages
from marketplace.billing.services import payout_record
from marketplace.catalog.models import Provider
from marketplace.shared.admin import ReadOnlyAdmin
from marketplace.shared.typed_numbers import TypedDecimalField
from router.domain.money import NANO_PER_USD


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "organisation", "provider", "posted_nano", "held_nano"]
    list_select_related = ["organisation", "provider"]
    list_filter = ["kind"]
    search_fields = ["organisation__slug", "provider__slug"]


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "debit", "credit", "amount_nano", "request_id", "created_at"]
    list_select_related = [
        "debit__organisation",
        "debit__provider",
        "credit__organisation",
        "credit__provider",
    ]
    list_filter = ["kind"]
    search_fields = ["idem_key", "request_id"]
    show_full_result_count = False


class BudgetForm(forms.ModelForm):
    """A budget. Its holder cannot be changed."""

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        organisation, user, key = (
            values.get(name, getattr(self.instance, name, None))
            for name in ("organisation", "user", "key")
        )
        if organisation is not None:
            try:
                budget_holder_check(organisation, user=user, key=key)
            except ValidationError as error:
                raise ValidationError(error.messages) from error
        return values


@admin.register(Budget)
class BudgetAdmin(admin.ModelAdmin):
    form = BudgetForm
    list_display = ["__str__", "organisation", "limit_nano", "window", "spent_nano", "held_nano"]
    list_select_related = ["organisation", "user", "key"]
    list_filter = ["window"]
    search_fields = ["organisation__slug", "user__email", "key__name"]
    autocomplete_fields = ["organisation", "user", "key"]
    readonly_fields = ["window_starts_at", "spent_nano", "held_nano"]

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> list[str]:
        return [*self.readonly_fields, *(["organisation", "user", "key"] if obj else ())]

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        obj.pk = budget_set(
            organisation=obj.organisation,
            user=obj.user,
            key=obj.key,
            limit_nano=obj.limit_nano,
            window=Window(obj.window),
        ).pk

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        budget_remove(budget=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        for budget in queryset:
            budget_remove(budget=budget)


class PayoutForm(forms.ModelForm):
    """A payout: amount, provider and reference. A valid form books it."""

    provider = forms.ModelChoiceField(Provider.objects.all(), label=_("Provider"))
    amount_usd = TypedDecimalField(
        label=_("Amount in US dollars"),
        min_value=Decimal("0.01"),
        max_digits=18,
        decimal_places=9,
    )
    reference = forms.CharField(
        label=_("Reference"),
        max_length=100,
        help_text=_("The reference of the bank transfer. It is recorded once."),
    )

    ordered_by: User

    class Meta:
        model = Payout
        fields: list[str] = []

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.instance = payout_record(
                    provider=values["provider"],
                    amount_nano=int(values["amount_usd"] * NANO_PER_USD),
                    reference=values["reference"],
                    ordered_by=self.ordered_by,
                )
            except ValidationError as error:
                self.add_error(None, error)
        return values

    def _post_clean(self) -> None:
        """Do nothing: the service has already checked and written the row."""


@admin.register(Payout)
class PayoutAdmin(ReadOnlyAdmin):
    """Payouts are never edited: a failed one is reversed."""

    form = PayoutForm
    list_display = ["created_at", "provider", "amount_nano", "reference"]
    list_select_related = ["debit__provider"]
    search_fields = ["idem_key", "debit__provider__slug"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.add_payout")

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[forms.ModelForm]:
        form = super().get_form(request, *args, **kwargs)
        # The class exists for this request only.
        form.ordered_by = request.user  # type: ignore[attr-defined]
        return form

    def save_model(self, request: HttpRequest, obj: Payout, form: Any, change: bool) -> None:
        """Do nothing: the form's service has written the row."""

    @admin.display(description=_("Provider"))
    def provider(self, payout: Payout) -> str:
        return str(payout.debit.provider)


@admin.register(Statement)
class StatementAdmin(ReadOnlyAdmin):
    list_display = ["number", "kind", "holder", "period", "closing_nano", "issued_at"]
    list_filter = ["kind", "period"]
    search_fields = ["number", "holder"]


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = ["id", "router_id", "account", "amount_nano", "spent_nano", "state"]
    list_select_related = ["account__organisation", "account__provider"]
    list_filter = ["state"]
    search_fields = ["router_id"]


@admin.register(WriteOff)
class WriteOffAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "router_id", "amount_nano", "leases", "by", "reason"]
    search_fields = ["router_id"]


@admin.register(ReconciliationReport)
class ReconciliationReportAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "transfers", "accounts", "is_balanced"]

    @admin.display(boolean=True)
    def is_balanced(self, report: ReconciliationReport) -> bool:
        return report.is_balanced
