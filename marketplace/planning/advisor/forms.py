"""What people fill in; a valid form makes a :class:`.question.Question`."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from marketplace.planning.advisor.options import catalogue
from marketplace.planning.advisor.question import (
    BUDGET_USD_MAX,
    KINDS,
    PEAK_FACTOR_MAX,
    PRICES_MAX,
    RATE_HZ_MAX,
    RATE_HZ_MIN,
    ROWS_MAX,
    SHARE_MAX,
    SHARE_MIN,
    SIZE_CV_MAX,
    SLO_MS_MAX,
    SLO_MS_MIN,
    TOKENS_MAX,
    UTILISATION_MAX,
    UTILISATION_MIN,
    Question,
    question_of,
)
from marketplace.planning.asking import QuestionInvalid
from marketplace.shared.typed_numbers import TypedDecimalField, plain_number

PERCENT = 100.0
PERCENTAGES = {"percentile": "share", "utilisation": "utilisation_max"}
"""Fields that people fill in as percentages, and what a question calls them."""
ASKED = tuple(
    name for name in Question.__struct_fields__ if name not in {"prices", *PERCENTAGES.values()}
)
"""What the form calls as the question does."""
KIND_LABELS = {"gpu": "GPU", "tpu": "TPU", "cpu": "CPU", "other": _("Other")}
SLIDERS = {
    "rate_hz": (0.1, 10_000, "log"),
    "peak_factor": (1, 10, "log"),
    "slo_ms": (5, 120_000, "log"),
    "percentile": (50, 99.9, "linear"),
    "prompt_tokens": (1, 8_192, "log"),
    "completion_tokens": (1, 8_192, "log"),
    "rows": (1, 1_024, "log"),
    "size_cv": (0, 4, "linear"),
}
"""Minimum, maximum and scale of the slider next to a number; the number may lie beyond."""


def _number(label: Any, least: float, most: float, initial: float, **more: Any) -> forms.FloatField:
    return forms.FloatField(label=label, min_value=least, max_value=most, initial=initial, **more)


class AdvisorForm(forms.Form):
    """The workload, what it must meet, and what may be used."""

    model = forms.ChoiceField(label=_("Model"))
    rate_hz = _number(_("Calls per second"), RATE_HZ_MIN, RATE_HZ_MAX, 10)
    peak_factor = _number(_("Peak over mean"), 1, PEAK_FACTOR_MAX, 1)
    percentile = _number(
        _("Share that must meet it, %"), SHARE_MIN * PERCENT, SHARE_MAX * PERCENT, 99
    )
    slo_ms = _number(_("Answer within, ms"), SLO_MS_MIN, SLO_MS_MAX, 2_000)
    prompt_tokens = _number(_("Prompt tokens, mean"), 1, TOKENS_MAX, 64)
    completion_tokens = _number(_("Completion tokens, mean"), 1, TOKENS_MAX, 64)
    rows = _number(_("Rows or images a call"), 1, ROWS_MAX, 1)
    size_cv = _number(_("Spread of sizes (standard deviation over mean)"), 0, SIZE_CV_MAX, 1)
    budget_usd = TypedDecimalField(
        label=_("Budget, USD an hour"),
        min_value=0,
        max_value=BUDGET_USD_MAX,
        initial=0,
        required=False,
    )
    utilisation = _number(
        _("Busy at most, %"), UTILISATION_MIN * PERCENT, UTILISATION_MAX * PERCENT, 90
    )
    kinds = forms.MultipleChoiceField(
        label=_("Hardware"), choices=list(KIND_LABELS.items()), initial=list(KINDS)
    )
    regions = forms.MultipleChoiceField(label=_("Regions"), required=False)
    published = forms.BooleanField(
        label=_("Published figures, not measured here, may be used"), required=False, initial=True
    )
    spare = forms.BooleanField(label=_("One instance may fail (n+1)"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"].choices = [(name, name) for name in catalogue.names()]  # type: ignore[attr-defined]
        self.fields["regions"].choices = [(name, name) for name in catalogue.regions()]  # type: ignore[attr-defined]

    @property
    def numbers(self) -> list[tuple[forms.BoundField, tuple[float, float, str]]]:
        """Fields that have a slider, with its bounds and scale."""
        return [(self[name], bounds) for name, bounds in SLIDERS.items()]

    def question(self, prices: dict[str, float]) -> Question:
        """Of a valid form. Raises :class:`QuestionInvalid` where it is no question after all."""
        values = self.cleaned_data
        asked = {name: values[name] for name in ASKED} | {
            name: values[field] / PERCENT for field, name in PERCENTAGES.items()
        }
        budget = {"budget_usd": float(values["budget_usd"] or 0)}
        return question_of(asked | budget | {"prices": prices})


def initial_of(question: Question) -> dict[str, Any]:
    """What the form shows for a question that was asked."""
    asked = {name: getattr(question, name) for name in ASKED}
    percentages = {
        field: round(getattr(question, name) * PERCENT, 3) for field, name in PERCENTAGES.items()
    }
    return asked | percentages | {"budget_usd": Decimal(str(question.budget_usd))}


def prices_of(names: list[str], usd: list[str]) -> dict[str, float]:
    """Prices entered next to options; blanks are left out. Raises :class:`QuestionInvalid`."""
    found: dict[str, float] = {}
    for name, text in list(zip(names, usd, strict=False))[:PRICES_MAX]:
        if text.strip():
            try:
                found[name] = float(plain_number(text))
            except ValidationError as error:
                raise QuestionInvalid("prices", f"{name}: {error.message}") from error
            except ValueError as error:
                raise QuestionInvalid("prices", f"prices must be numbers, got {text!r}") from error
    return found
