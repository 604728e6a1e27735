"""What people fill in; a valid form makes a :class:`.question.Question`."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.planning.advisor import catalogue
from marketplace.planning.advisor.question import (
    BUDGET_USD_MAX,
    KINDS,
    PEAK_FACTOR_MAX,
    PRICES_MAX,
    RATE_HZ_MAX,
    ROWS_MAX,
    SHARE_MAX,
    SHARE_MIN,
    SIZE_CV_MAX,
    SLO_MS_MAX,
    TOKENS_MAX,
    Question,
    QuestionInvalid,
    question_of,
)

PERCENT = 100.0
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
"""Least, most and scale of the slider beside a number; the number itself may lie beyond."""


def _number(label: Any, least: float, most: float, initial: float, **more: Any) -> forms.FloatField:
    return forms.FloatField(label=label, min_value=least, max_value=most, initial=initial, **more)


class AdvisorForm(forms.Form):
    """The workload, what it must meet, and what may be used."""

    model = forms.ChoiceField(label=_("Model"))
    rate_hz = _number(_("Calls a second"), 0.001, RATE_HZ_MAX, 10)
    peak_factor = _number(_("Peak over mean"), 1, PEAK_FACTOR_MAX, 1)
    percentile = _number(_("Share that must meet it, %"), SHARE_MIN * 100, SHARE_MAX * 100, 99)
    slo_ms = _number(_("Answer within, ms"), 0.1, SLO_MS_MAX, 2_000)
    prompt_tokens = _number(_("Prompt tokens, mean"), 1, TOKENS_MAX, 64)
    completion_tokens = _number(_("Completion tokens, mean"), 1, TOKENS_MAX, 64)
    rows = _number(_("Rows or images a call"), 1, ROWS_MAX, 1)
    size_cv = _number(_("Spread of sizes (standard deviation over mean)"), 0, SIZE_CV_MAX, 1)
    budget_usd = _number(_("Budget, USD an hour"), 0, BUDGET_USD_MAX, 0, required=False)
    utilisation = _number(_("Busy at most, %"), 10, 99, 90)
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

    def question(self, prices: dict[str, float]) -> Question | None:
        """Of a valid form; None, and an error on the form, where it is no question after all."""
        values = self.cleaned_data
        same = ("model", "rate_hz", "peak_factor", "slo_ms", "prompt_tokens", "completion_tokens")
        try:
            return question_of(
                {
                    **{name: values[name] for name in (*same, "rows", "size_cv")},
                    "share": values["percentile"] / PERCENT,
                    "budget_usd": values["budget_usd"] or 0.0,
                    "utilisation_max": values["utilisation"] / PERCENT,
                    "kinds": values["kinds"],
                    "regions": values["regions"],
                    "published": values["published"],
                    "spare": values["spare"],
                    "prices": prices,
                }
            )
        except QuestionInvalid as error:
            self.add_error(None, str(error))
            return None


def initial_of(question: Question) -> dict[str, Any]:
    """What the form shows for a question that was asked."""
    same = ("model", "rate_hz", "peak_factor", "slo_ms", "prompt_tokens", "completion_tokens")
    return {
        **{name: getattr(question, name) for name in (*same, "rows", "size_cv", "budget_usd")},
        "percentile": round(question.share * PERCENT, 3),
        "utilisation": round(question.utilisation_max * PERCENT, 3),
        "kinds": list(question.kinds),
        "regions": list(question.regions),
        "published": question.published,
        "spare": question.spare,
    }


def prices_of(names: list[str], usd: list[str]) -> dict[str, float]:
    """Prices filled in beside options; blanks are left out. Raises :class:`QuestionInvalid`."""
    found: dict[str, float] = {}
    for name, text in list(zip(names, usd, strict=False))[:PRICES_MAX]:
        if text.strip():
            try:
                found[name] = float(text)
            except ValueError as error:
                raise QuestionInvalid("prices", f"must be numbers, got {text!r}") from error
    return found
