"""The form of a budget: a limit in dollars, and its window."""

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.billing.budgets.services import budget_remove, budget_set
from marketplace.billing.models import Budget, Window
from marketplace.shared.typed_numbers import TypedDecimalField
from router.domain.money import NANO_PER_USD


class BudgetForm(forms.Form):
    """An empty limit means no budget."""

    budget_usd = TypedDecimalField(
        min_value=Decimal(0), max_digits=18, decimal_places=9, required=False, label=_("Budget, $")
    )
    window = forms.ChoiceField(
        choices=Window.choices, initial=Window.MONTH, required=False, label=_("Resets")
    )

    @staticmethod
    def initial_of(budget: Budget | None) -> dict[str, Any]:
        """Initial values for the form of a budget."""
        if budget is None:
            return {}
        return {"budget_usd": Decimal(budget.limit_nano) / NANO_PER_USD, "window": budget.window}

    def put(
        self, *, organisation: Organisation, user: User | None = None, key: ApiKey | None = None
    ) -> None:
        """Set or remove the budget as a valid form says."""
        limit_usd: Decimal | None = self.cleaned_data["budget_usd"]
        if limit_usd is not None:
            budget_set(
                organisation=organisation,
                user=user,
                key=key,
                limit_nano=int(limit_usd * NANO_PER_USD),
                window=Window(self.cleaned_data["window"] or Window.MONTH),
            )
            return
        for budget in Budget.objects.filter(organisation=organisation, user=user, key=key):
            budget_remove(budget=budget)
