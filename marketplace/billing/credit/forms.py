"""Forms for credit: a request, and what staff grant without one."""

from django import forms
from django.utils.translation import gettext_lazy

from marketplace.billing.credit.services import amount_check
from marketplace.billing.payments.forms import OnceField, UsdField


class CreditRequestForm(forms.Form):
    """The amount (cents once clean) and the reason."""

    amount = UsdField(label=gettext_lazy("Amount in US dollars"))
    reason = forms.CharField(max_length=500, label=gettext_lazy("What it is for"))

    def clean_amount(self) -> int:
        cents: int = self.cleaned_data["amount"]
        amount_check(cents)
        return cents


class CreditGrantForm(CreditRequestForm):
    """A grant by staff."""

    once = OnceField()
