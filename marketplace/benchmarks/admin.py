"""Profiles in Django's admin. A published one is the router's prior."""

from itertools import pairwise
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from marketplace.benchmarks.loadgen.plan import LOAD_MAX
from marketplace.benchmarks.models import Profile
from marketplace.shared.admin import PublishingAdmin

FACTOR_MAX = 1e6


class ProfileForm(forms.ModelForm):
    """Checks the batch curve: routers and jobs divide by what it says."""

    def clean_batch_curve(self) -> list[list[float]]:
        given = self.cleaned_data["batch_curve"]
        curve: list[list[float]] = [] if given is None else given
        if not _is_curve(curve):
            raise ValidationError(
                _(
                    "A batch curve looks like [[1, 1.0], [4, 1.6]]: rising whole numbers of calls, "
                    "each with how many times as long as alone they take."
                )
            )
        return curve

    def clean_fingerprint(self) -> dict[str, Any]:
        given = self.cleaned_data["fingerprint"]
        found: dict[str, Any] = {} if given is None else given
        if not isinstance(found, dict):
            raise ValidationError(_("Enter a JSON object."))
        return found


def _is_curve(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(point, list) and len(point) == 2 for point in value)
        and all(type(at) is int and 1 <= at <= LOAD_MAX for at, _factor in value)
        and all(type(factor) in {int, float} and 0 < factor <= FACTOR_MAX for _at, factor in value)
        and all(one[0] < other[0] for one, other in pairwise(value))
    )


@admin.register(Profile)
class ProfileAdmin(PublishingAdmin):
    form = ProfileForm
    list_display = ["deployment", "service_ms", "source", "emulated", "published", "created_at"]
    list_select_related = [
        "deployment__version__model",
        "deployment__provider",
        "deployment__pool",
    ]
    list_filter = ["published", "emulated"]
    autocomplete_fields = ["deployment"]
    readonly_fields = ["engine"]
