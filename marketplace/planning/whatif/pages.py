"""The platform's staff ask what would be, and see now and then side by side."""

from datetime import UTC
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from marketplace.accounts.access import staff_required
from marketplace.catalog.models import AIModel
from marketplace.planning.whatif.form import asked_of, form_of
from marketplace.planning.whatif.question import Question, question_of
from marketplace.planning.whatif.replay.notes import note_text
from marketplace.planning.whatif.selectors import (
    answer_kept,
    deployments_of,
    models_recorded,
    profiles_of,
    stretches,
    what_ifs,
)
from marketplace.planning.whatif.services import what_if_ask
from marketplace.planning.whatif.table import (
    charts_of,
    conclusion_of,
    distances_of,
    pools_of,
    rows_of,
)
from marketplace.routing.models import PolicyKind
from marketplace.shared.numbers import whole

RECENT = 20
STRETCHES = {
    "yesterday": gettext_lazy("Yesterday's busiest hour"),
    "week": gettext_lazy("The week's busiest hour"),
    "hour": gettext_lazy("The last hour"),
    "day": gettext_lazy("The last 24 hours"),
}
SLO_FROM = {
    "question": gettext_lazy("as requested"),
    "profile": gettext_lazy("of the profile"),
    "median": gettext_lazy("three times the recorded median"),
}


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required
def ask(request: HttpRequest) -> HttpResponse:
    """The form, and what was asked lately."""
    if request.method != "POST":
        return _form(request)
    try:
        question = question_of(asked_of(request.POST))
        row = what_if_ask(question=question, asked_by=request.user)  # type: ignore[arg-type]
    except ValueError as error:
        return _form(request, error=str(error))
    return redirect("what-if-answer", row.pk)


@require_safe
@staff_required
def answered(request: HttpRequest, what_if_id: int) -> HttpResponse:
    """One question: how far it is, or its answer."""
    row = get_object_or_404(what_ifs(), pk=what_if_id)
    if row.is_over and request.headers.get("HX-Request"):
        # The whole page again: the charts are drawn as it loads.
        return HttpResponse(headers={"HX-Refresh": "true"})
    question = msgspec.convert(row.question, Question)
    context = {
        "row": row,
        "since": question.since.astimezone(UTC),
        "until": question.until.astimezone(UTC),
    }
    if (answer := answer_kept(row)) is not None:
        context |= {
            "answer": answer,
            "conclusion": conclusion_of(
                answer.differences,
                answer.cost_now.hardware_nano_per_hour,
                answer.cost_then.hardware_nano_per_hour,
            ),
            "rows": rows_of(answer),
            "pools": pools_of(answer),
            "calibration": distances_of(answer.calibration),
            "chart": charts_of(answer, question.since),
            "notes": [note_text(note) for note in answer.notes],
            "slo_from": SLO_FROM[answer.slo_from],
        }
    return render(request, "benchmarks/what_if_answer.html", context)


def _form(request: HttpRequest, error: str = "") -> HttpResponse:
    models = models_recorded()
    model = _model(request, models)
    found = stretches(model, timezone.now()) if model else []
    chosen = request.GET.get("stretch", "")
    stretch = next((s for s in found if s.name == chosen), found[0] if found else None)
    context: dict[str, Any] = {
        "models": models,
        "model": model,
        "stretches": [(stretch, STRETCHES[stretch.name]) for stretch in found],
        "stretch": stretch,
        "kinds": PolicyKind.choices,
        "error": error,
        "recent": what_ifs().defer("answer")[:RECENT],
    }
    if model and stretch:
        again = what_ifs().filter(pk=whole(request.GET.get("again", "")) or 0, model=model).first()
        context["form"] = form_of(
            model, deployments_of(model), stretch, again.question if again else None, request.POST
        )
        context["profiles"] = profiles_of(model)
    return render(request, "benchmarks/what_if.html", context, status=422 if error else 200)


def _model(request: HttpRequest, models: list[AIModel]) -> AIModel | None:
    name = request.POST.get("model") or request.GET.get("model")
    return next((model for model in models if model.name == name), models[0] if models else None)
