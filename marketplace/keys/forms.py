"""Forms for keys."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import LIMIT_FIELDS, LIMIT_MAX, ApiKey, Scope, default_scopes
from marketplace.billing.budgets.forms import BudgetForm
from marketplace.keys.rotation import HOUR, OVERLAP_MAX
from marketplace.keys.rules import expiry_check, models_allowed_check

MINUTES = "%Y-%m-%dT%H:%M"
OVERLAPS = {
    0: _("at once"),
    1: _("in an hour"),
    24: _("in a day"),
    24 * 7: _("in a week"),
    OVERLAP_MAX // HOUR: _("in 30 days"),
}
"""When the old key ends, by hours from now."""


def _limit(label: Any) -> forms.IntegerField:
    return forms.IntegerField(min_value=1, max_value=LIMIT_MAX, required=False, label=label)


class KeyForm(BudgetForm):
    """The settings of a key. Only the name is required."""

    name = forms.CharField(max_length=80, label=_("Name"))
    requests_per_minute = _limit(_("Requests per minute"))
    tokens_per_minute = _limit(_("Tokens per minute"))
    calls_at_once = _limit(_("Calls at once"))
    models_allowed = forms.CharField(
        required=False, max_length=13_000, widget=forms.Textarea, label=_("Models allowed")
    )
    expires_at = forms.DateTimeField(
        required=False, input_formats=[MINUTES, "%Y-%m-%dT%H:%M:%S"], label=_("Expires (UTC)")
    )

    def __init__(self, *args: Any, api_key: ApiKey | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.api_key = api_key

    def clean_models_allowed(self) -> list[str]:
        """Model names, separated by lines or commas."""
        names = self.cleaned_data["models_allowed"].replace(",", " ").split()
        return models_allowed_check(
            names, before=self.api_key.models_allowed if self.api_key else ()
        )

    def clean_expires_at(self) -> datetime | None:
        """A time in the future, or the key's present one, to the minute."""
        wanted: datetime | None = self.cleaned_data["expires_at"]
        before = self.api_key.expires_at if self.api_key else None
        if wanted and before and wanted == before.replace(second=0, microsecond=0):
            return before
        return expiry_check(wanted)

    @property
    def limits(self) -> list[forms.BoundField]:
        """The bound fields of rate limits."""
        return [self[name] for name in LIMIT_FIELDS]

    @property
    def key_fields(self) -> dict[str, Any]:
        """The key's fields of a valid form."""
        names = ("name", "models_allowed", "expires_at", *LIMIT_FIELDS)
        return {name: self.cleaned_data[name] for name in names}

    @classmethod
    def initial_for(cls, row: ApiKey) -> dict[str, Any]:
        """Initial values for the form of a key."""
        fields = {name: getattr(row, name) for name in ("name", *LIMIT_FIELDS)}
        fields["models_allowed"] = "\n".join(row.models_allowed)
        fields["expires_at"] = row.expires_at and row.expires_at.strftime(MINUTES)
        return fields | cls.initial_of(getattr(row, "budget", None))


class NewKeyForm(KeyForm):
    """Scopes are set when a key is made and never change; by default it calls models."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=default_scopes,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Scopes"),
    )

    @property
    def key_fields(self) -> dict[str, Any]:
        """As in :class:`KeyForm`, with scopes."""
        scopes = self.cleaned_data["scopes"] or default_scopes()
        return {**super().key_fields, "scopes": scopes}


class RotationForm(forms.Form):
    """Asks when the old key ends."""

    overlap_hours = forms.TypedChoiceField(
        choices=tuple(OVERLAPS.items()), coerce=int, initial=24, label=_("Old key stops working")
    )

    @property
    def overlap(self) -> timedelta:
        """The overlap of a valid form."""
        return timedelta(hours=self.cleaned_data["overlap_hours"])

    @property
    def ends_at(self) -> datetime:
        """When the old key ends if it is rotated now."""
        return timezone.now() + self.overlap
