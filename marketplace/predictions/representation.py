"""A prediction as clients, webhooks and streams get it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

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
        "model": prediction.model.name,
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
        answer["request_id"] = str(prediction.request_id) if prediction.request_id else None
    return answer


def _metrics(prediction: Prediction) -> dict[str, float | None]:
    """Seconds and dollars. The time in the queue is that of the job and that of the router."""
    queue_s = None
    if prediction.started_at is not None:
        waited = prediction.started_at - prediction.created_at
        queue_s = round(waited.total_seconds() + (prediction.queue_ms or 0.0) / 1e3, 3)
    predict_ms, cost = prediction.predict_ms, prediction.cost_nano
    return {
        "predict_time": None if predict_ms is None else round(predict_ms / 1e3, 3),
        "queue_time": queue_s,
        "cost": None if cost is None else cost / NANO_PER_USD,
    }


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
