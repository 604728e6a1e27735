"""Forms for keys."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import (
    GUARD_FIELDS,
    LIMIT_FIELDS,
    LIMIT_MAX,
    ApiKey,
    Mask,
    Scope,
    default_scopes,
)
from marketplace.billing.budgets.forms import BudgetForm
from marketplace.keys.guards import guard_model_check, guards_to_choose
from marketplace.keys.limits import NANO_MAX, RULES_MAX, Rule, rules_check, rules_of
from marketplace.keys.rotation import HOUR, OVERLAP_MAX
from marketplace.keys.rules import expiry_check, models_allowed_check
from marketplace.shared.typed_numbers import TypedDecimalField, WholeField
from router.domain.money import NANO_PER_USD

MINUTES = "%Y-%m-%dT%H:%M"
OVERLAPS = {
    0: _("at once"),
    1: _("in an hour"),
    24: _("in a day"),
    24 * 7: _("in a week"),
    OVERLAP_MAX // HOUR: _("in 30 days"),
}
"""When the old key ends, by hours from now."""


def _limit(label: Any) -> WholeField:
    return WholeField(min_value=1, max_value=LIMIT_MAX, required=False, label=label)


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

    guard_model = forms.CharField(required=False, max_length=120, label=_("Moderation model"))
    guard_inputs = forms.BooleanField(required=False, initial=True, label=_("Before a call"))
    guard_answers = forms.BooleanField(required=False, label=_("Its answer"))
    guard_passes = forms.BooleanField(required=False, label=_("Let pass what it cannot judge"))
    masks = forms.MultipleChoiceField(
        choices=Mask.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Masked in its calls"),
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

    def clean_guard_model(self) -> str:
        """A moderation model, or ""."""
        before = self.api_key.guard_model if self.api_key else ""
        return guard_model_check(self.cleaned_data["guard_model"], before=before)

    def clean(self) -> dict[str, Any]:
        """A guard judges something."""
        given = super().clean() or self.cleaned_data
        if given.get("guard_model") and not (given["guard_inputs"] or given["guard_answers"]):
            self.add_error(
                "guard_model", _("Choose what it judges: calls, their answers, or both.")
            )
        return given

    @property
    def guards(self) -> list[str]:
        """The moderation models to choose from, also one that is gone and still chosen."""
        return guards_to_choose(self["guard_model"].value() or "")

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
        names = ("name", "models_allowed", "expires_at", "masks", *LIMIT_FIELDS, *GUARD_FIELDS)
        return {name: self.cleaned_data[name] for name in names}

    @classmethod
    def initial_for(cls, row: ApiKey) -> dict[str, Any]:
        """Initial values for the form of a key."""
        fields = {
            name: getattr(row, name) for name in ("name", "masks", *LIMIT_FIELDS, *GUARD_FIELDS)
        }
        fields["models_allowed"] = "\n".join(row.models_allowed)
        fields["expires_at"] = row.expires_at and row.expires_at.strftime(MINUTES)
        if not row.guard_model:
            fields["guard_inputs"] = True
        return fields | cls.initial_of(getattr(row, "budget", None))


class RuleForm(forms.Form):
    """A limit of some of the key's calls. All fields empty: none."""

    model = forms.CharField(required=False, max_length=120, label=_("Model"))
    each_user = forms.BooleanField(required=False, label=_("Each end user"))
    requests_per_minute = _limit(_("Requests per minute"))
    tokens_per_minute = _limit(_("Tokens per minute"))
    calls_at_once = _limit(_("Calls at once"))
    usd_per_day = TypedDecimalField(
        min_value=Decimal("0.000000001"),
        max_value=Decimal(NANO_MAX) / NANO_PER_USD,
        decimal_places=9,
        required=False,
        label=_("$ a day"),
    )

    @property
    def rule(self) -> Rule | None:
        """The rule of a valid form."""
        given = self.cleaned_data
        if not any(given.values()):
            return None
        return Rule(
            model=given["model"].strip(),
            each_user=given["each_user"],
            **{name: given[name] or 0 for name in LIMIT_FIELDS},
            nano_per_day=int((given["usd_per_day"] or 0) * NANO_PER_USD),
        )

    @staticmethod
    def initial_of(rule: Rule) -> dict[str, Any]:
        """Initial values for the form of a rule."""
        initial: dict[str, Any] = {name: getattr(rule, name) or None for name in LIMIT_FIELDS}
        usd = Decimal(rule.nano_per_day) / NANO_PER_USD if rule.nano_per_day else None
        return initial | {"model": rule.model, "each_user": rule.each_user, "usd_per_day": usd}


_RuleForms = forms.formset_factory(RuleForm, extra=1, max_num=RULES_MAX)


class RuleForms:
    """The forms of a key's rules. Once valid, ``stored`` are the rules as the key stores them."""

    def __init__(self, api_key: ApiKey, given: QueryDict | None = None) -> None:
        self._before = rules_of(api_key.rules)
        initial = [RuleForm.initial_of(rule) for rule in self._before]
        self.forms = _RuleForms(given, initial=initial, prefix="rules")
        self.stored: list[dict[str, Any]] = []
        self.error = ""

    def is_valid(self) -> bool:
        """Check each and all together; ``error`` says what is wrong with all together."""
        if not self.forms.is_valid():
            return False
        rules = [form.rule for form in self.forms]
        try:
            self.stored = rules_check(filter(None, rules), before=self._before)
        except ValidationError as error:
            self.error = " ".join(error.messages)
        return not self.error


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
