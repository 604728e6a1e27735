"""The form of a preset."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from marketplace.presets.rules import NAME_MAX, PARAMETERS_MAX, SYSTEM_MAX, parameters_read


class PresetForm(forms.Form):
    """What calls get by its name. What a call says itself is stronger."""

    name = forms.SlugField(
        max_length=NAME_MAX,
        label=_("Name"),
        help_text=_("Calls name it as <code>@preset/…</code>. Letters, digits and dashes."),
    )
    model = forms.CharField(
        required=False,
        max_length=140,
        label=_("Model"),
        help_text=_("Empty: calls name it, as <code>author/slug@preset/…</code>."),
    )
    system = forms.CharField(
        required=False,
        max_length=SYSTEM_MAX,
        label=_("Instructions"),
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=_("For calls that have no system message of their own."),
    )
    parameters = forms.CharField(
        required=False,
        max_length=PARAMETERS_MAX,
        label=_("Other fields (JSON)"),
        widget=forms.Textarea(attrs={"rows": 8, "class": "input mono", "spellcheck": "false"}),
        help_text=_("Like temperature, max_tokens, models (fallbacks), provider (routing wishes)."),
    )

    def clean_parameters(self) -> dict[str, Any]:
        """The JSON object."""
        try:
            return parameters_read(self.cleaned_data["parameters"])
        except ValidationError as error:
            raise forms.ValidationError(error.messages) from error

    def refuse(self, error: ValidationError) -> None:
        """Show what the service refuses at the fields that it is about."""
        for name, messages in error.message_dict.items():
            self.add_error({"parameters": "parameters"}.get(name, name), messages)
