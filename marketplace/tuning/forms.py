"""The form of a route's settings: shares in per cent, times in milliseconds."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.routing.trials.models import Mode, RouteTuning


class TuningForm(forms.Form):
    mode = forms.ChoiceField(choices=Mode.choices, label=_("Mode"))
    canary_percent = forms.FloatField(
        min_value=1.0, max_value=50.0, label=_("Share of the calls of a trial, %")
    )
    slo_ms = forms.FloatField(
        min_value=1.0, max_value=3_600_000.0, label=_("An answer is good within, ms")
    )
    budget_percent = forms.FloatField(
        min_value=0.01, max_value=50.0, label=_("Error budget, % of a day's calls")
    )
    samples_min = forms.IntegerField(
        min_value=50, max_value=1_000_000, label=_("Samples, at least")
    )

    @classmethod
    def of(cls, tuning: RouteTuning) -> "TuningForm":
        """The form filled with a route's settings."""
        return cls(
            initial={
                "mode": tuning.mode,
                "canary_percent": round(tuning.canary_share * 100, 6),
                "slo_ms": tuning.slo_ms,
                "budget_percent": round(tuning.error_budget * 100, 6),
                "samples_min": tuning.samples_min,
            }
        )

    @property
    def values(self) -> dict[str, Any]:
        """The fields of :class:`RouteTuning` from a valid form."""
        cleaned = self.cleaned_data
        return {
            "mode": cleaned["mode"],
            "canary_share": cleaned["canary_percent"] / 100,
            "slo_ms": cleaned["slo_ms"],
            "error_budget": cleaned["budget_percent"] / 100,
            "samples_min": cleaned["samples_min"],
        }
