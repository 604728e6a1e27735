"""What a held answer sends of a prediction: itself at its end, or its events as they come."""

import json
from collections.abc import Iterable

from marketplace.predictions.models import Event, Prediction, PredictionEvent
from marketplace.predictions.responses.representation import prediction_as_json
from marketplace.predictions.selectors import by_uid, events_after, waiting_before
from marketplace.predictions.services import prediction_topic
from marketplace.shared.connections import connection_rest
from marketplace.shared.held import Step
from marketplace.shared.jobs.models import JobState

STREAM_S_MAX = 3_600.0
"""A stream ends after this; its client goes on with ``Last-Event-ID``."""


class _Following:
    def __init__(self, prediction: Prediction) -> None:
        self.topic = prediction_topic(prediction)
        self._organisation_id = prediction.organisation_id
        self._uid = prediction.uid

    def _read(self) -> Prediction | None:
        return by_uid(self._organisation_id, self._uid)


class Wait(_Following):
    """The prediction once it is over, or as it is when the time is."""

    streams = False

    def __init__(self, prediction: Prediction, seconds: float) -> None:
        super().__init__(prediction)
        self.seconds = seconds

    def step(self, *, is_late: bool) -> Step:
        try:
            prediction = self._read()
            if prediction is None:
                return Step(b"null", is_over=True)
            if not prediction.is_over and not is_late:
                return Step(b"")
            return Step(json.dumps(prediction_as_json(prediction)).encode(), is_over=True)
        finally:
            connection_rest()


class Stream(_Following):
    """Its events from one on."""

    CONTENT_TYPE = "text/event-stream"
    streams = True
    seconds = STREAM_S_MAX

    def __init__(self, prediction: Prediction, after_id: int) -> None:
        super().__init__(prediction)
        self._after_id = after_id

    def step(self, *, is_late: bool) -> Step:
        try:
            prediction = self._read()
            if prediction is None:
                return Step(b"", is_over=True)
            return self.more(prediction)
        finally:
            connection_rest()

    def more(self, prediction: Prediction) -> Step:
        """The events since, or a comment, which keeps whatever is between from hanging up."""
        body, is_over = b"", False
        while events := events_after(prediction, self._after_id):
            self._after_id = events[-1].pk
            body += b"".join(_told(prediction, events))
            if is_over := events[-1].kind == Event.COMPLETED:
                break
        if not body:
            body = _still(prediction)
            is_over = prediction.is_over
        return Step(body, is_over)


def stream_begin(prediction: Prediction, after_id: int) -> tuple[bytes, Stream | None]:
    """What there is of a stream by now, and the rest; None where that was all."""
    stream = Stream(prediction, after_id)
    step = stream.more(prediction)
    return step.body, None if step.is_over else stream


def _told(prediction: Prediction, events: Iterable[PredictionEvent]) -> Iterable[bytes]:
    for event in events:
        if event.kind == Event.COMPLETED:
            prediction.refresh_from_db()
            lines = [json.dumps(prediction_as_json(prediction))]
        elif event.kind == Event.START:
            lines = [json.dumps({"status": "processing"})]
        elif event.kind == Event.LOGS:
            lines = [json.dumps(line) for line in event.text.splitlines()]
        else:
            lines = event.text.split("\n")
        for line in lines[:-1]:
            yield f"event: {event.kind}\ndata: {line}\n\n".encode()
        yield f"event: {event.kind}\nid: {event.pk}\ndata: {lines[-1]}\n\n".encode()


def _still(prediction: Prediction) -> bytes:
    if prediction.state == JobState.QUEUED:
        return f": waiting, {waiting_before(prediction)} before it\n\n".encode()
    if prediction.place is not None:
        return f": in the router's queue, at place {prediction.place}\n\n".encode()
    return b": running\n\n"
