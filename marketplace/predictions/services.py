"""Asking for a prediction, cancelling it, telling of it, and forgetting it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Length

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel
from marketplace.inference.callers import Caller
from marketplace.inference.idempotency import KEPT, asked_before
from marketplace.pipelines.models import Pipeline
from marketplace.predictions.models import Event, Prediction, PredictionEvent
from marketplace.predictions.responses.representation import prediction_as_json
from marketplace.predictions.selectors import predictions_of, too_late
from marketplace.predictions.signals import prediction_deleted
from marketplace.shared.changes import changed
from marketplace.shared.jobs.models import STATES_OPEN, JobState
from marketplace.shared.jobs.services import job_ask, job_cancel
from marketplace.shared.sweeping import swept
from marketplace.webhooks.services import webhook_send

WAITING_MAX = 1_000
"""Predictions of one organisation that may wait or run; 429 beyond it."""
DELETED_AT_ONCE = 500
WEBHOOK_BYTES_MAX = 500_000
"""A webhook gets no more of input and output together; it has the URL to get them from."""


class TooMany(Exception):
    """So many predictions of the organisation wait or run already."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request, of a model, of a name that stands for one, or of a pipeline.

    ``pinned`` says that the version was asked for. ``fingerprint`` tells requests with one
    ``idempotency_key`` apart.
    """

    model: AIModel | None
    version: str
    input_text: str
    priority: str
    webhook: str = ""
    webhook_events: tuple[str, ...] = ()
    deadline_at: datetime | None = None
    idempotency_key: str = ""
    fingerprint: str = ""
    pipeline: Pipeline | None = None
    called_name: str = ""
    pinned: bool = False


def prediction_topic(prediction: Prediction) -> str:
    """What to wait for to hear that something about it changed."""
    return f"prediction:{prediction.uid.hex}"


@transaction.atomic
def prediction_create(
    *, caller: Caller, asked_by: User | None, asked: Asked
) -> tuple[Prediction, bool]:
    """Queue a prediction; returns it, and whether it was there already by its Idempotency-Key.

    Raises :class:`AskedTwice`, :class:`OtherRequest` or :class:`TooMany`.
    """
    if asked.idempotency_key:
        rows = predictions_of(caller.organisation_id)
        found = asked_before(rows, caller, asked.idempotency_key, asked.fingerprint)
        if found is not None:
            return found, True
    open_now = Prediction.objects.filter(
        organisation_id=caller.organisation_id, state__in=STATES_OPEN
    )
    if open_now[:WAITING_MAX].count() >= WAITING_MAX:
        raise TooMany(f"{WAITING_MAX} predictions of the organisation wait or run already.")
    prediction = Prediction(
        organisation_id=caller.organisation_id,
        account_id=caller.account_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        asked_by=asked_by,
        model=asked.model,
        pipeline=asked.pipeline,
        called_name=asked.called_name,
        version=asked.version,
        pinned=asked.pinned,
        input_text=asked.input_text,
        priority=asked.priority,
        webhook=asked.webhook,
        webhook_events=list(asked.webhook_events),
        deadline_at=asked.deadline_at,
        idempotency_key=asked.idempotency_key,
        fingerprint=asked.fingerprint,
    )
    job_ask(prediction)
    return prediction, False


def prediction_cancel(*, prediction: Prediction) -> bool:
    """Cancel it; False if it was over. One that runs ends within seconds, billed by the rule."""
    with transaction.atomic():
        if job_cancel(prediction):
            prediction_over(prediction)
            return True
    return not prediction.is_over


@transaction.atomic
def prediction_delete(*, prediction: Prediction) -> bool:
    """Delete it with what went in and came out; False if it is not over. The books stay."""
    gone = Prediction.objects.exclude(state__in=STATES_OPEN).filter(pk=prediction.pk)
    is_gone = bool(gone.only("pk").delete()[0])
    if is_gone:
        prediction_deleted.send(None, prediction=prediction)
    return is_gone


def predictions_abort(now: datetime) -> int:
    """End those whose deadline passed while they waited. Returns how many.

    Nothing is billed, unless one had begun and lost its process: then it was not too late.
    """
    ended = 0
    for prediction in too_late(now).select_related("model", "pipeline"):
        with transaction.atomic():
            tried = prediction.attempts
            rows = Prediction.objects.filter(
                pk=prediction.pk, state=JobState.QUEUED, attempts=tried
            )
            if rows.update(state=JobState.CANCELLED, aborted=not tried, ended_at=now):
                prediction.refresh_from_db()
                prediction_over(prediction)
                ended += 1
    return ended


def prediction_over(prediction: Prediction) -> None:
    """Tell that it is over, however it ended: in the transaction that ends it."""
    event_tell(prediction, Event.COMPLETED)


def event_tell(
    prediction: Prediction, kind: Event, lines: Sequence[str] = (), *, to_webhook: bool = True
) -> None:
    """Put an event on the stream, tell those who wait, and the webhook if it wants to hear."""
    with transaction.atomic():
        event = PredictionEvent.objects.create(
            prediction=prediction, kind=kind, text="\n".join(lines)
        )
        changed(prediction_topic(prediction))
        if to_webhook and prediction.webhook and kind in prediction.webhook_events:
            _webhook_tell(prediction, event)


def _webhook_tell(prediction: Prediction, event: PredictionEvent) -> None:
    size = len(prediction.input_text) + len(prediction.output_text)
    if prediction.pipeline_id:
        sizes = prediction.stages.aggregate(Sum(Length("output_text"), default=0))
        size += sum(sizes.values())
    is_large = size > WEBHOOK_BYTES_MAX
    data = prediction_as_json(prediction, has_data=not is_large)
    webhook_send(
        organisation_id=prediction.organisation_id,
        url=prediction.webhook,
        event_type=f"prediction.{event.kind}",
        payload={
            "type": f"prediction.{event.kind}",
            "timestamp": event.created_at,
            "data": data,
        },
        event_id=f"prediction_{prediction.uid.hex}_{event.pk}",
    )


def predictions_forget(now: datetime) -> int:
    """Delete what is over for as long as the settings say; returns how many."""
    kept = timedelta(hours=settings.WAYPOST_PREDICTION_KEPT_HOURS)
    old = Prediction.objects.exclude(state__in=STATES_OPEN).filter(ended_at__lt=now - kept)
    keyed = Prediction.objects.exclude(idempotency_key="")
    keyed.filter(created_at__lt=now - KEPT).update(idempotency_key="")

    def some() -> int:
        gone = list(old.order_by("pk").values_list("pk", flat=True)[:DELETED_AT_ONCE])
        # Django reads what it deletes, and inputs and outputs may be megabytes.
        Prediction.objects.filter(pk__in=gone).only("pk").delete()
        return len(gone)

    return swept(some)
