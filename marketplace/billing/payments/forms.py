"""What people fill in about payments. Amounts are dollars here and cents from here on."""

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy

from marketplace.billing.payments.models import AutoRecharge
from marketplace.billing.payments.money import cents_of_usd, usd_of_cents


class UsdField(forms.DecimalField):
    """Dollars with at most two decimals; its clean value is in cents."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=9, decimal_places=2, **options)

    def clean(self, value: Any) -> Any:
        usd: Decimal | None = super().clean(value)
        return None if usd is None else cents_of_usd(usd)


class TopupForm(forms.Form):
    """How much to pay now, and whether the card may be kept for auto-recharge."""

    amount = UsdField(label=gettext_lazy("Amount in US dollars"))
    save_card = forms.BooleanField(
        required=False, label=gettext_lazy("Keep the card for auto-recharge")
    )

    @property
    def bounds(self) -> tuple[Decimal, Decimal]:
        """Least and most, in dollars."""
        return topup_bounds()


class AutoRechargeForm(forms.Form):
    """When to charge the kept card, how much, and at most how much a month."""

    enabled = forms.BooleanField(required=False, label=gettext_lazy("Recharge automatically"))
    threshold = UsdField(min_value=0, label=gettext_lazy("When less is available than"))
    amount = UsdField(label=gettext_lazy("Charge"))
    cap = UsdField(min_value=0, label=gettext_lazy("At most in a calendar month"))

    @classmethod
    def of(cls, rule: AutoRecharge | None) -> "AutoRechargeForm":
        """Filled with what holds now."""
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
        """The fields with dollars."""
        return [self[name] for name in ("threshold", "amount", "cap")]


def topup_bounds() -> tuple[Decimal, Decimal]:
    """Least and most that can be paid at once, in dollars."""
    return (
        usd_of_cents(settings.WAYPOST_TOPUP_CENTS_MIN),
        usd_of_cents(settings.WAYPOST_TOPUP_CENTS_MAX),
    )
