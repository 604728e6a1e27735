"""Pages of predictions: the list, and one with its progress, its output and where it ran."""

from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.catalog.models import Pool
from marketplace.predictions.models import Prediction, PredictionStage
from marketplace.predictions.responses.output import as_text, output_shown, output_so_far
from marketplace.predictions.responses.representation import prediction_as_json
from marketplace.predictions.selectors import (
    figures_fill,
    predictions_listed,
    predictions_of,
    waiting_before,
)
from marketplace.predictions.services import prediction_cancel
from marketplace.predictions.stages.trace import trace_of
from marketplace.shared.jobs.models import STATES_OPEN, JobState
from marketplace.usage.models import UsageEvent

ROWS_PER_PAGE = 50


@require_safe
@organisation_required
def predictions(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's predictions, the newest first."""
    rows = predictions_listed(organisation.pk)
    state = request.GET.get("state", "")
    if state in JobState.values:
        rows = rows.filter(state=state)
    page = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    figures_fill(page.object_list)
    context = {
        "page": page,
        "states": JobState.choices,
        "state": state,
        "is_moving": any(row.state in STATES_OPEN for row in page.object_list),
        "emulated_pools": _emulated_pools(),
        "may_call": may(request.user, organisation, Permission.CALL),
    }
    return render(request, "predictions/predictions.html", context)


@require_safe
@organisation_required
def prediction(request: HttpRequest, organisation: Organisation, uid: UUID) -> HttpResponse:
    """One: how far it is, what came out, what it cost and where it ran."""
    row = get_object_or_404(predictions_of(organisation.pk), uid=uid)
    if row.is_over and request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Refresh": "true"})
    output = row.output if row.is_over else output_so_far(row.events.all())
    figures_fill([row])
    figures = prediction_as_json(row, is_listed=True)["metrics"]
    context = {
        "row": row,
        "shown": output_shown(output),
        "trace": trace_of(row.stages_known),
        "input": as_text(row.input),
        "queue_ms": _ms(figures["queue_time"]),
        "predict_ms": _ms(figures["predict_time"]),
        "before": waiting_before(row) if row.state == JobState.QUEUED else None,
        "left_s": _left_s(row),
        "known_calls": _known_calls(row),
        "emulated_pools": _emulated_pools(),
        "may_cancel": not row.is_over and may(request.user, organisation, Permission.CALL),
    }
    return render(request, "predictions/prediction.html", context)


@require_POST
@organisation_required
def cancel(request: HttpRequest, organisation: Organisation, uid: UUID) -> HttpResponse:
    """End it; one that is over stays as it is."""
    demand(request, organisation, Permission.CALL)
    prediction_cancel(prediction=get_object_or_404(predictions_of(organisation.pk), uid=uid))
    return redirect("prediction", uid)


def _emulated_pools() -> set[str]:
    return set(Pool.objects.filter(emulated=True).values_list("name", flat=True))


def _known_calls(row: Prediction) -> set[UUID]:
    """Its calls that the books have by now."""
    calls: list[Prediction | PredictionStage] = [row, *row.stages_known]
    asked = [call.request_id for call in calls if call.request_id]
    return set(UsageEvent.objects.filter(pk__in=asked).values_list("pk", flat=True))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _left_s(row: Prediction) -> int | None:
    if row.deadline_at is None or row.is_over:
        return None
    return max(0, round((row.deadline_at - timezone.now()).total_seconds()))
