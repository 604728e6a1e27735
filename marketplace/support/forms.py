"""What staff may change of a customer."""

from django import forms

from marketplace.accounts.models import LIMIT_FIELDS, Organisation


class LimitsForm(forms.ModelForm):
    """The limits of all keys together. An empty field means no limit."""

    class Meta:
        model = Organisation
        fields = LIMIT_FIELDS
