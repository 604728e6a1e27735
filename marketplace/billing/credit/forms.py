"""What members fill in when they ask for credit."""

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.billing.payments.forms import UsdField
from marketplace.billing.payments.money import usd_of_cents


class CreditRequestForm(forms.Form):
    """How much, in cents once clean, and what for."""

    amount = UsdField(label=gettext_lazy("Amount in US dollars"))
    reason = forms.CharField(max_length=500, label=gettext_lazy("What it is for"))

    def clean_amount(self) -> int:
        cents: int = self.cleaned_data["amount"]
        most = settings.WAYPOST_TOPUP_CENTS_MAX
        if not 0 < cents <= most:
            raise ValidationError(
                _("An amount is above zero and at most %(most)s US dollars.")
                % {"most": usd_of_cents(most)}
            )
        return cents
