"""The form that closes an organisation."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation


class CloseForm(forms.Form):
    """Confirms it by typing the organisation's name.

    ``slug`` is that of the organisation that the page told of: a session may act for another one by
    now, which may have the same name.
    """

    slug = forms.CharField(widget=forms.HiddenInput)
    name = forms.CharField(
        label=_("Type the organisation's name to confirm"),
        max_length=120,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, organisation: Organisation, **kwargs: Any) -> None:
        self.organisation = organisation
        super().__init__(*args, **kwargs)
        self.fields["slug"].initial = organisation.slug

    def clean_name(self) -> str:
        """The name. ``ValidationError`` unless it is the organisation's."""
        name: str = self.cleaned_data["name"]
        if name.strip() != self.organisation.name.strip():
            raise forms.ValidationError(_("This is not the organisation's name."))
        return name

    def clean(self) -> None:
        """``ValidationError`` for a form of another organisation."""
        if self.cleaned_data.get("slug") != self.organisation.slug:
            raise forms.ValidationError(
                _("You act for another organisation by now: open the page again.")
            )
