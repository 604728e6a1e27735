"""Forms about payments. Amounts are typed in dollars and cleaned to cents."""

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from marketplace.billing.payments.books.money import cents_of_usd, usd_of_cents
from marketplace.billing.payments.models import AutoRecharge
from marketplace.shared.typed_numbers import TypedDecimalField


class UsdField(TypedDecimalField):
    """Dollars with at most two decimals; its clean value is in cents."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=9, decimal_places=2, **options)

    def clean(self, value: Any) -> Any:
        usd: Decimal | None = super().clean(value)
        return None if usd is None else cents_of_usd(usd)


class OnceField(forms.UUIDField):
    """Hidden, and another one in each form that is shown: what is sent twice is done once."""

    widget = forms.HiddenInput

    def __init__(self, **options: Any) -> None:
        super().__init__(initial=uuid.uuid4, **options)


class TopupForm(forms.Form):
    """The amount to pay, and whether to keep the card for auto-recharge."""

    amount = UsdField(label=gettext_lazy("Amount in US dollars"))
    save_card = forms.BooleanField(
        required=False, label=gettext_lazy("Save the card for auto-recharge")
    )


class AutoRechargeForm(forms.Form):
    """The rule of auto-recharge: threshold, amount and monthly cap."""

    enabled = forms.BooleanField(required=False, label=gettext_lazy("Recharge automatically"))
    threshold = UsdField(min_value=0, label=gettext_lazy("When available credit is below"))
    amount = UsdField(label=gettext_lazy("Charge"))
    cap = UsdField(min_value=0, label=gettext_lazy("Maximum per calendar month"))

    @classmethod
    def of(cls, rule: AutoRecharge | None) -> "AutoRechargeForm":
        """The form filled with the present rule."""
        if rule is None:
            return cls()
        return cls(
            initial={
                "enabled": rule.enabled,
                "threshold": usd_of_cents(rule.threshold_cents),
                "amount": usd_of_cents(rule.amount_cents),
                "cap": usd_of_cents(rule.cap_cents),
            }
        )

    @property
    def amounts(self) -> list[forms.BoundField]:
        """The fields for amounts."""
        return [self[name] for name in ("threshold", "amount", "cap")]
