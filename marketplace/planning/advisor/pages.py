"""The hardware advisor's pages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.pages import organisation_required
from marketplace.planning.advisor.answer import Answer, Compared, answer_of
from marketplace.planning.advisor.forms import AdvisorForm, initial_of, prices_of
from marketplace.planning.advisor.model import Fleet, Step
from marketplace.planning.advisor.models import Advice
from marketplace.planning.advisor.option import NANO_PER_USD
from marketplace.planning.advisor.presets import presets_of
from marketplace.planning.advisor.question import Question, QuestionInvalid
from marketplace.planning.advisor.services import (
    PilotImpossible,
    TooManyChecks,
    advice_make,
    pilot_start,
)
from marketplace.planning.advisor.wording import (
    ASSUMPTIONS,
    BINDING,
    COMPARED,
    CONFIDENCE,
    EVIDENCE,
    LEFT_OUT,
    PILOT,
    STEPS,
    VERDICT,
    words,
)

RECENT = 10


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def advisor(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The question; asked, it is answered by the model at once and checked by a job."""
    if request.method == "POST":
        form = AdvisorForm(request.POST)
        advice = _asked(request, organisation, form)
        if advice is not None:
            return redirect("advice", advice.pk)
    else:
        known = {name: request.GET[name] for name in AdvisorForm.base_fields if name in request.GET}
        form = AdvisorForm(initial=known)
    context = {
        "form": form,
        "presets": presets_of(organisation.pk),
        "recent": Advice.objects.filter(organisation=organisation)[:RECENT],
    }
    status = 422 if form.is_bound else 200
    return render(request, "benchmarks/advisor.html", context, status=status)


@require_safe
@organisation_required
def advice(request: HttpRequest, organisation: Organisation, advice_id: int) -> HttpResponse:
    """One answer. While it is checked the page asks again by itself."""
    row = get_object_or_404(Advice, pk=advice_id, organisation=organisation)
    question = msgspec.convert(row.question, Question)
    answer = answer_of(row.answer)
    context = {
        "advice": row,
        "question": question,
        "percentile": question.share * 100,
        "rate": number(question.rate_hz),
        "peak": number(question.peak_hz),
        "rate_until": number(answer.rate_until_hz),
        "answer": answer,
        "form": AdvisorForm(initial=initial_of(question)),
        "prices": question.prices,
        **_told(answer, row),
    }
    return render(request, "benchmarks/advice.html", context)


@require_POST
@organisation_required
def pilot(request: HttpRequest, organisation: Organisation, advice_id: int) -> HttpResponse:
    """Start a benchmark that the answer asks for."""
    row = get_object_or_404(Advice, pk=advice_id, organisation=organisation)
    if not isinstance(request.user, User) or not request.user.is_staff:
        raise PermissionDenied(_("The platform's staff start benchmarks."))
    text = request.POST.get("deployment", "")
    try:
        made = pilot_start(
            advice=row, deployment_id=int(text) if text.isdecimal() else 0, user=request.user
        )
    except PilotImpossible as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Benchmark %(number)s waits to run.") % {"number": made.pk})
    return redirect("advice", row.pk)


def _asked(request: HttpRequest, organisation: Organisation, form: AdvisorForm) -> Advice | None:
    if not form.is_valid():
        return None
    try:
        prices = prices_of(request.POST.getlist("price_name"), request.POST.getlist("price_usd"))
        question = form.question(prices)
        if question is None:
            return None
        user = request.user if isinstance(request.user, User) else None
        return advice_make(organisation=organisation, user=user, question=question)
    except (QuestionInvalid, TooManyChecks) as error:
        form.add_error(None, str(error))
        return None


def _told(answer: Answer, row: Advice) -> dict[str, Any]:
    """The answer as the page lays it out."""
    check = answer.check
    return {
        "fleet": _fleet(answer.fleet),
        "binding": words(dict(BINDING), list(answer.binding)),
        "compared": _compared(answer),
        "steps": _steps(answer),
        "options": [
            {
                "row": option,
                "hardware": "" if option.hardware in option.name else option.hardware,
                "evidence": EVIDENCE.get(option.evidence, option.evidence),
                "left_out": LEFT_OUT.get(option.left_out, option.left_out),
                "cost_nano": nano(option.cost_usd),
                "idle": option.idle_within * 100,
                "capacity": number(option.capacity_hz),
            }
            for option in answer.options
        ],
        "pilots": [
            {"row": pilot, "reason": PILOT.get(pilot.reason, pilot.reason)}
            for pilot in answer.pilots
        ],
        "confidence": CONFIDENCE.get(answer.confidence, answer.confidence),
        "assumptions": words(dict(ASSUMPTIONS), list(answer.assumptions)),
        "within": [100 * one for one in check.figures.within] if check and check.figures else None,
        "nearest": [
            {
                "fleet": _listed(near.fleet),
                "cost_nano": nano(near.cost_usd),
                "within": near.within[0] * 100,
                "verdict": VERDICT[near.verdict.value],
            }
            for near in (check.nearest if check else ())
        ],
    }


def number(value: float) -> str:
    """Four digits that matter, in the reader's notation."""
    rounded = Decimal(f"{value:.4g}").normalize()
    exponent = rounded.as_tuple().exponent
    decimals = max(-exponent, 0) if isinstance(exponent, int) else 0
    return str(number_format(rounded, decimal_pos=decimals, use_l10n=True))


def nano(usd: float | None) -> int | None:
    """For the filter that writes money."""
    return None if usd is None else round(usd * NANO_PER_USD)


def _fleet(fleet: Fleet | None) -> dict[str, Any] | None:
    if fleet is None:
        return None
    return {
        "row": fleet,
        "lines": [
            {
                "row": line,
                "evidence": EVIDENCE.get(line.evidence, line.evidence),
                "cost_nano": nano(line.cost_usd),
                "traffic": line.traffic * 100,
                "utilisation": line.utilisation * 100,
            }
            for line in fleet.lines
        ],
        "cost_nano": nano(fleet.cost_usd),
        "per_call_nano": nano(fleet.usd_per_1k_calls),
        "per_token_nano": nano(fleet.usd_per_1m_tokens),
        "per_met_nano": nano(fleet.usd_per_1k_met),
        "within": fleet.within * 100,
        "utilisation": fleet.utilisation * 100,
    }


def _compared(answer: Answer) -> list[dict[str, Any]]:
    """The advised fleet first, each with its cost as a share of the dearest."""
    rows = [*answer.compared]
    if answer.fleet is not None:
        figures = answer.check.figures if answer.check else None
        rows.insert(0, Compared("advised", answer.fleet, figures))
    dearest = max((row.fleet.cost_usd for row in rows if row.fleet), default=0.0) or 1.0
    return [
        {
            "what": COMPARED.get(row.what, _("Advised")),
            "fleet": _listed({line.option: line.count for line in row.fleet.lines})
            if row.fleet
            else "",
            "cost_nano": nano(row.fleet.cost_usd) if row.fleet else None,
            "bar": f"{100 * row.fleet.cost_usd / dearest:.2f}" if row.fleet else "0",
            "p99_ms": _p99(row),
            "within": _within(row),
            "verdict": _verdict(row),
            "is_good": row.fleet is not None and _is_good(row),
        }
        for row in rows
    ]


def _p99(row: Compared) -> float | None:
    if row.emulated is not None:
        return row.emulated.p99_ms
    return row.fleet.p99_ms if row.fleet else None


def _within(row: Compared) -> float:
    if row.emulated is not None:
        return row.emulated.within[0] * 100
    return row.fleet.within * 100 if row.fleet else 0.0


def _verdict(row: Compared) -> Any:
    if row.fleet is None:
        return _("none does it")
    if row.emulated is not None:
        return VERDICT[row.emulated.verdict.value]
    return VERDICT["meets" if row.fleet.meets else "misses"]


def _is_good(row: Compared) -> bool:
    if row.emulated is not None:
        return row.emulated.verdict.value == "meets"
    return row.fleet is not None and row.fleet.meets


def _steps(answer: Answer) -> list[dict[str, Any]]:
    """The sensitivity, each step's cost as a share of the dearest."""
    dearest = max((step.cost_usd or 0.0 for step in answer.sensitivity), default=0.0) or 1.0

    def told(step: Step) -> dict[str, Any]:
        return {
            "what": f"{STEPS[step.what]}{f' · {step.option}' if step.option else ''}",
            "change": round((step.factor - 1) * 100),
            "value": step.value,
            "value_text": number(step.value),
            "kind": step.what,
            "value_nano": nano(step.value),
            "cost_nano": nano(step.cost_usd),
            "bar": f"{100 * (step.cost_usd or 0) / dearest:.2f}",
            "fleet": _listed(step.fleet),
        }

    return [told(step) for step in answer.sensitivity]


def _listed(fleet: dict[str, int]) -> str:
    return " + ".join(f"{count} × {name}" for name, count in fleet.items())
