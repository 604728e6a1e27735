"""Routing's reactions to changes in the apps below, in the same transaction."""

from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.dispatch import receiver

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel, Worker
from marketplace.catalog.signals import draining_changed
from marketplace.predictions.models import Prediction
from marketplace.predictions.signals import prediction_deleted
from marketplace.routing.services import snapshot_publish
from marketplace.routing.trials.events import event_record
from marketplace.routing.trials.models import EventKind
from marketplace.shared.signals import catalog_changed


@receiver(catalog_changed)
def _publish(**_: Any) -> None:
    snapshot_publish()


@receiver(draining_changed)
def _record_draining(
    worker: Worker, models: Iterable[AIModel], by: User | None, why: str, **_: Any
) -> None:
    kind = EventKind.DRAINED if worker.draining else EventKind.UNDRAINED
    reason = f"{worker.worker_id}: {why}" if why else worker.worker_id
    for model in models:
        event_record(kind=kind, model=model, by=by, why=reason)


@receiver(prediction_deleted)
def _forget_response(prediction: Prediction, **_: Any) -> None:
    """What a router kept, if the prediction made a response: it has the same id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM routing_response WHERE id = %s AND organisation_id = %s",
            [f"resp_{prediction.uid.hex}", prediction.organisation_id],
        )
