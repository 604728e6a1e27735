"""A prediction as clients, webhooks and streams get it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from marketplace.predictions.models import Prediction, Status
from marketplace.predictions.selectors import figures_fill, waiting_before
from router.domain.money import NANO_PER_USD


def prediction_as_json(
    prediction: Prediction, *, is_listed: bool = False, has_data: bool = True
) -> dict[str, Any]:
    """The object of the API. A listed one, whose figures are filled, has no input, output or logs.

    Without its data input and output are null, as where they are too large to be sent.
    """
    if not is_listed:
        figures_fill([prediction])
    answer: dict[str, Any] = {
        "id": str(prediction.uid),
        "object": "prediction",
        "model": prediction.model_name,
        "version": prediction.version,
        "status": str(prediction.status),
        "error": prediction.error or None,
        "created_at": _time(prediction.created_at),
        "started_at": _time(prediction.started_at),
        "completed_at": _time(prediction.ended_at),
        "metrics": _metrics(prediction),
        "urls": _urls(prediction),
    }
    if not is_listed:
        answer["input"] = prediction.input if has_data else None
        answer["output"] = prediction.output if has_data else None
        answer["logs"] = prediction.logs
        answer["queue"] = _queue(prediction)
        answer["request_id"] = _id(prediction.request_id)
        answer["stages"] = _stages(prediction, has_data=has_data)
    return answer


def _metrics(prediction: Prediction) -> dict[str, float | None]:
    """Seconds and dollars. The time in the queue is that of the job and that of the router."""
    queue_s = None
    if prediction.started_at is not None:
        waited = prediction.started_at - prediction.created_at
        queue_s = round(waited.total_seconds() + (prediction.queue_ms or 0.0) / 1e3, 3)
    return {
        "predict_time": _seconds(prediction.predict_ms),
        "queue_time": queue_s,
        "cost": _dollars(prediction.cost_nano),
    }


def _stages(prediction: Prediction, *, has_data: bool) -> list[dict[str, Any]] | None:
    """The stages of a pipeline that have begun, in their order."""
    if prediction.pipeline_id is None:
        return None
    return [
        {
            "name": stage.name,
            "model": stage.model_name,
            "status": str(stage.status),
            "error": stage.error or None,
            "worker": stage.worker or None,
            "pool": stage.pool or None,
            "request_id": _id(stage.request_id),
            "metrics": {
                "predict_time": _seconds(stage.predict_ms),
                "queue_time": _seconds(stage.queue_ms),
                "cost": _dollars(stage.cost_nano),
            },
            "output": stage.output if has_data else None,
        }
        for stage in prediction.stages_known
    ]


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else round(ms / 1e3, 3)


def _dollars(nano: int | None) -> float | None:
    return None if nano is None else nano / NANO_PER_USD


def _id(found: UUID | None) -> str | None:
    return None if found is None else str(found)


def _queue(prediction: Prediction) -> dict[str, Any] | None:
    """Its place while it waits: for a job process, then in the router's queue."""
    if prediction.status is Status.STARTING:
        return {"of": "predictions", "position": waiting_before(prediction), "expected_at": None}
    if prediction.status is Status.PROCESSING and prediction.place is not None:
        expected_at = _time(prediction.begins_at)
        return {"of": "router", "position": prediction.place, "expected_at": expected_at}
    return None


def _urls(prediction: Prediction) -> dict[str, str]:
    base = f"{settings.WAYPOST_ROUTER_URL}/v1/predictions/{prediction.uid}"
    return {"get": base, "cancel": f"{base}/cancel", "stream": f"{base}/stream"}


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
