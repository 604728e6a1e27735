"""Reading predictions, and what can be predicted with."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import chain
from uuid import UUID

from django.db.models import Case, IntegerField, Min, Prefetch, QuerySet, Value, When

from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import deployments_live, models_published
from marketplace.predictions.calls.call import StandIn
from marketplace.predictions.models import Prediction, PredictionEvent, PredictionStage
from marketplace.presets.naming import meant_by
from marketplace.presets.selectors import presets_of
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import jobs_running
from marketplace.usage.models import UsageEvent
from router.domain.request import AUTO, Priority

EVENTS_AT_ONCE = 200
URGENCY = Case(
    *(When(priority=priority.value, then=Value(rank)) for rank, priority in enumerate(Priority)),
    default=Value(len(Priority)),
    output_field=IntegerField(),
)


def predictions_of(organisation_id: int) -> QuerySet[Prediction]:
    """The organisation's predictions with what they are of, the newest first."""
    rows = Prediction.objects.filter(organisation_id=organisation_id)
    return rows.select_related("model", "pipeline")


def predictions_listed(organisation_id: int) -> QuerySet[Prediction]:
    """The same for a list: with their stages, and without what was put in and came out."""
    stages = Prefetch("stages", PredictionStage.objects.defer("output_text"))
    rows = predictions_of(organisation_id).prefetch_related(stages)
    return rows.defer("input_text", "output_text", "logs")


def model_wanted(name: str) -> AIModel | None:
    """The model of that name, if it may be called."""
    return models_published().filter(name=name).first()


def stand_in(name: str, organisation_id: int) -> StandIn | None:
    """What a name that is no model's own stands for, such as ``auto`` or a preset; or None.

    Raises ``NameInvalid``.
    """
    meant = meant_by(name, presets_of(organisation_id))
    if meant.model == AUTO:
        return StandIn(name, None, meant.fields)
    model = model_wanted(meant.model)
    return StandIn(name, model, meant.fields) if model is not None else None


def versions_served(model: AIModel) -> list[str]:
    """The versions of its live deployments, that of the one offered last first."""
    newest_first = deployments_live(model).order_by("-id")
    return list(dict.fromkeys(newest_first.values_list("version__version", flat=True)))


def events_after(prediction: Prediction, event_id: int) -> list[PredictionEvent]:
    """The next events of its stream, at most ``EVENTS_AT_ONCE``."""
    return list(prediction.events.filter(pk__gt=event_id)[:EVENTS_AT_ONCE])


def whose_turn(queued: QuerySet[Prediction]) -> Prediction | None:
    """The next of the organisation of which the fewest run, the most urgent and oldest first.

    So who asks for a thousand makes nobody else wait for them.
    """
    running = Counter(jobs_running(Prediction).values_list("organisation_id", flat=True))
    waiting = Prediction.objects.filter(state=JobState.QUEUED).order_by()
    oldest = waiting.values_list("organisation_id").annotate(Min("pk"))
    for organisation_id, _ in sorted(oldest, key=lambda row: (running[row[0]], row[1])):
        own = queued.filter(organisation_id=organisation_id).annotate(urgency=URGENCY)
        if found := own.order_by("urgency", "pk").first():
            return found
    return None


def waiting_before(prediction: Prediction) -> int:
    """How many that anybody asked for before this one wait as well."""
    return Prediction.objects.filter(state=JobState.QUEUED, pk__lt=prediction.pk).count()


def figures_fill(predictions: Iterable[Prediction]) -> None:
    """Let these know, until they are read again, what only the books know of them.

    Those are the cost and the time of a call that was cut off before the router could say so. A
    pipeline's figures are the sums of its stages'.
    """
    rows = list(predictions)
    stages_of = {row.pk: list(row.stages.all()) for row in rows if row.pipeline_id}
    calls: list[Prediction | PredictionStage] = [*rows, *chain(*stages_of.values())]
    unknown = {
        call.request_id: call
        for call in calls
        if call.cost_nano is None and call.request_id and call.is_over
    }
    events = UsageEvent.objects.filter(pk__in=unknown) if unknown else UsageEvent.objects.none()
    for pk, charge_nano, upstream_ms in events.values_list("pk", "charge_nano", "upstream_ms"):
        unknown[pk].cost_nano = charge_nano
        unknown[pk].predict_ms = upstream_ms
    for row in rows:
        if row.pipeline_id:
            row.stages_known = stages_of[row.pk]
            _sum_up(row, row.stages_known)


def _sum_up(prediction: Prediction, stages: Iterable[PredictionStage]) -> None:
    """Of what is known of its stages."""
    for name in ("cost_nano", "queue_ms", "predict_ms"):
        found = [getattr(stage, name) for stage in stages]
        known = [figure for figure in found if figure is not None]
        setattr(prediction, name, sum(known) if known else None)


def too_late(now: datetime) -> QuerySet[Prediction]:
    """Predictions that wait although their deadline has passed."""
    return Prediction.objects.filter(state=JobState.QUEUED, deadline_at__lte=now)


def by_uid(organisation_id: int, uid: UUID) -> Prediction | None:
    """One of the organisation's predictions."""
    return predictions_of(organisation_id).filter(uid=uid).first()


def prediction_with_stage(organisation_id: int, request_id: UUID) -> Prediction | None:
    """The organisation's prediction of a pipeline that this call is a stage of."""
    stages = PredictionStage.objects.filter(request_id=request_id)
    return predictions_of(organisation_id).filter(pk__in=stages.values("prediction")).first()
