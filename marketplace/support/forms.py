"""What staff may change of a customer."""

from decimal import Decimal

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import LIMIT_FIELDS, Organisation
from marketplace.billing.payments.forms import OnceField, UsdField
from marketplace.shared.typed_numbers import TypedDecimalField, WholeField
from router.domain.money import NANO_PER_USD


class LimitsForm(forms.ModelForm):
    """The limits of all keys together. An empty field means no limit."""

    class Meta:
        model = Organisation
        fields = LIMIT_FIELDS
        field_classes = dict.fromkeys(LIMIT_FIELDS, WholeField)


class OrderForm(forms.Form):
    """An amount, cents once clean, and why."""

    amount = UsdField(label=_("Amount in US dollars"), min_value=Decimal("0.01"))
    reason = forms.CharField(max_length=500, label=_("Reason"))
    once = OnceField()


class PayoutForm(forms.Form):
    """Money that was sent: earnings go down to a billionth of a dollar."""

    amount_usd = TypedDecimalField(
        label=_("Amount in US dollars"),
        min_value=Decimal("0.01"),
        max_digits=18,
        decimal_places=9,
    )
    reference = forms.CharField(max_length=100, label=_("Reference of the bank transfer"))

    @property
    def amount_nano(self) -> int:
        return int(self.cleaned_data["amount_usd"] * NANO_PER_USD)
