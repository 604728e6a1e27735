"""Reading predictions, and what can be predicted with."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import deployments_live, models_published
from marketplace.predictions.models import Prediction, PredictionEvent
from marketplace.shared.jobs.models import JobState
from marketplace.usage.models import UsageEvent

EVENTS_AT_ONCE = 200


def predictions_of(organisation_id: int) -> QuerySet[Prediction]:
    """The organisation's predictions with their models, the newest first."""
    return Prediction.objects.filter(organisation_id=organisation_id).select_related("model")


def model_wanted(name: str) -> AIModel | None:
    """The model of that name, if it may be called."""
    return models_published().filter(name=name).first()


def version_served(model: AIModel) -> str | None:
    """The version that the routers serve: that of the deployment offered last."""
    newest = deployments_live(model).order_by("-id").first()
    return newest.version.version if newest is not None else None


def events_after(prediction: Prediction, event_id: int) -> list[PredictionEvent]:
    """The next events of its stream, at most ``EVENTS_AT_ONCE``."""
    return list(prediction.events.filter(pk__gt=event_id)[:EVENTS_AT_ONCE])


def waiting_before(prediction: Prediction) -> int:
    """How many predictions of anybody begin before this one, which waits."""
    return Prediction.objects.filter(state=JobState.QUEUED, pk__lt=prediction.pk).count()


def cost_nano(prediction: Prediction) -> int | None:
    """What its call was charged; None while that is not known.

    The books know it also where the call was cut off before the router could say so.
    """
    if prediction.cost_nano is not None or prediction.request_id is None:
        return prediction.cost_nano
    events = UsageEvent.objects.filter(pk=prediction.request_id)
    return events.values_list("charge_nano", flat=True).first()


def too_late(now: datetime) -> QuerySet[Prediction]:
    """Predictions that wait although their deadline has passed."""
    return Prediction.objects.filter(state=JobState.QUEUED, deadline_at__lte=now)


def of_key(caller_key: tuple[int, int, int], idempotency_key: str) -> Prediction | None:
    """The prediction that a caller (organisation, key, person) asked for with this key."""
    organisation_id, key_id, user_id = caller_key
    rows = predictions_of(organisation_id).filter(key_id=key_id, user_id=user_id)
    return rows.filter(idempotency_key=idempotency_key).first()


def by_uid(organisation_id: int, uid: UUID) -> Prediction | None:
    """One of the organisation's predictions."""
    return predictions_of(organisation_id).filter(uid=uid).first()
