"""The work of a job: have the router answer, and write down what comes as it comes."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from marketplace.catalog.models import AIModel
from marketplace.predictions.calls.answers import Served, json_text
from marketplace.predictions.calls.call import RESPONSES, StandIn, call_of
from marketplace.predictions.calls.conversation import (
    Answered,
    Begun,
    Chunks,
    Conversation,
    Order,
    Piece,
    Refused,
    Waits,
)
from marketplace.predictions.calls.invalid import InputInvalid
from marketplace.predictions.models import Event, Prediction
from marketplace.predictions.selectors import stand_in, versions_served
from marketplace.predictions.services import event_tell, prediction_topic
from marketplace.presets.naming import NameInvalid
from marketplace.shared.changes import changed
from marketplace.shared.connections import connection_rest
from marketplace.shared.jobs.services import JobFailed, JobStopped, Run

RUN_S_MAX = 600.0
"""The longest that one attempt may wait and run at the router."""
TICK_S = 0.1
FLUSH_S = 0.25
"""How often new output is written down while it comes."""
WEBHOOK_EVERY_S = 1.0
"""How often a webhook is notified of it."""


def prediction_run(run: Run) -> Mapping[str, Any]:
    """Make the call; returns the columns to keep."""
    prediction: Prediction = run.job
    seconds = left_s(prediction)
    if seconds <= 0:
        stop_late(run, prediction)
    try:
        order = _order(prediction, min(seconds, RUN_S_MAX))
    except InputInvalid as error:
        raise JobFailed(f"{error.param}: {error}") from error
    event_tell(prediction, Event.START)
    note = Notes(run)
    note.begin()
    with Conversation(order) as conversation:
        return Following(run, conversation, note).to_the_end()


def _order(prediction: Prediction, deadline_s: float) -> Order:
    call = call_of(_called(prediction), prediction.input)
    return Order(
        caller=prediction.caller,
        call=call,
        priority=prediction.priority,
        idempotency_key=f"prediction:{prediction.uid}",
        deadline_s=deadline_s,
        bytes_max=settings.WAYPOST_PREDICTION_OUTPUT_BYTES_MAX,
        traceparent=prediction.traceparent,
        response_id=str(prediction.uid) if call.path == RESPONSES else "",
    )


def _called(prediction: Prediction) -> AIModel | StandIn:
    """What it calls, as things are now."""
    model, name = prediction.model, prediction.called_name
    if name:
        try:
            found = stand_in(name, prediction.organisation_id)
        except NameInvalid as error:
            raise JobFailed(f"{error}.") from error
        if found is None:
            raise JobFailed(f"{name} is not offered any more.")
        return found
    if model is None:
        raise TypeError("a pipeline runs by its stages")
    served = versions_served(model) if prediction.pinned else []
    if served and prediction.version not in served:
        only = ", ".join(served)
        raise JobFailed(f"Version {prediction.version} is not served any more, only {only}.")
    return model


class Notes:
    """The logs of a prediction: a line for each thing that happened, with its time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.text: str = run.job.logs

    def begin(self) -> None:
        """Say how urgent it is, and that it was tried before."""
        prediction: Prediction = self._run.job
        attempt = f", attempt {prediction.attempts}" if prediction.attempts > 1 else ""
        self.add(f"Given to the router at {prediction.priority} priority{attempt}.")

    def add(self, line: str) -> None:
        """Write a line, and tell it."""
        said = f"{timezone.now():%H:%M:%S} {line}"
        self.text += said + "\n"
        keep(self._run, logs=self.text)
        event_tell(self._run.job, Event.LOGS, [said])


def until_answered(
    run: Run, conversation: Conversation, note: Notes, take: Callable[[Piece | None], None]
) -> Answered:
    """The answer; until then ``take`` gets what comes, and None where nothing did for a moment.

    Raises ``JobFailed`` where there is none, and ``JobStopped`` where nobody waits for it any more.
    """
    while True:
        piece = conversation.next(TICK_S)
        if isinstance(piece, Answered):
            return piece
        if not isinstance(piece, Refused):
            take(piece)
            run.progress(0.0)
        # First of all: what the conversation says at this moment is that it gave up.
        if left_s(run.job) <= 0:
            note.add("Its deadline passed.")
            raise JobStopped
        if isinstance(piece, Refused):
            raise JobFailed(piece.message)
        connection_rest()


class Following:
    """Writes down what a conversation brings, until it or the prediction ends."""

    def __init__(self, run: Run, conversation: Conversation, note: Notes) -> None:
        self._run = run
        self._prediction: Prediction = run.job
        self._conversation = conversation
        self._note = note
        self._lines: list[str] = []
        self._output: Any = None
        self._served = Served()
        self._flushed_s = time.monotonic()
        self._told_s = -WEBHOOK_EVERY_S

    def to_the_end(self) -> Mapping[str, Any]:
        """The columns to keep. Raises ``JobFailed`` or ``JobStopped``."""
        try:
            return self._answered(
                until_answered(self._run, self._conversation, self._note, self._take)
            )
        except JobStopped:
            self._keep_what_came()
            if self._run.own.exists():
                self._note.add("The call was ended.")
            raise
        except JobFailed:
            self._keep_what_came()
            raise

    def _take(self, piece: Piece | None) -> None:
        if isinstance(piece, Waits):
            self._wait(piece)
        elif isinstance(piece, Begun):
            if self._output is not None:
                self._lines, self._output = [], None
                event_tell(self._prediction, Event.START)
                self._note.add("The answer broke off and begins anew.")
            self._served = piece.served
            keep(self._run, place=None, begins_at=None, **served_columns(piece.served))
            if piece.served.worker:  # Else only the end of the stream knows it.
                self._note.add(placed(piece.served))
        elif isinstance(piece, Chunks):
            self._lines += piece.texts
            self._output = piece.output
        now_s = time.monotonic()
        if self._lines and now_s - self._flushed_s >= FLUSH_S:
            self._flush()
            self._flushed_s = now_s

    def _wait(self, piece: Waits) -> None:
        """It waits in the router's queue: store its place, so that pages can show it."""
        place = begins_at = None
        if piece.standing is not None:
            place = piece.standing.place
            begins_at = timezone.now() + timedelta(seconds=piece.standing.eta_s)
        request_id = uuid_of(piece.request_id)
        keep(self._run, place=place, begins_at=begins_at, request_id=request_id)
        changed(prediction_topic(self._prediction))

    def _flush(self) -> None:
        if self._lines and not self._run.is_stopped():
            self._tell_output(self._lines)
        self._lines = []

    def _tell_output(self, lines: list[str]) -> None:
        """A webhook hears of output now and then only, and of its end."""
        now_s = time.monotonic()
        to_webhook = now_s - self._told_s >= WEBHOOK_EVERY_S
        if to_webhook:
            self._told_s = now_s
            self._prediction.output_text = json_text(self._output)
        event_tell(self._prediction, Event.OUTPUT, lines, to_webhook=to_webhook)

    def _answered(self, piece: Answered) -> Mapping[str, Any]:
        if not self._served.worker:
            self._note.add(placed(piece.served))
        self._flush()
        text = json_text(piece.output)
        if self._output is None:
            self._output = piece.output
            self._tell_output([text])
        self._note.add("Answered.")
        return {"output_text": text, "logs": self._note.text, **served_columns(piece.served)}

    def _keep_what_came(self) -> None:
        """What was delivered is billed, so it is kept."""
        self._flush()
        if self._output is not None:
            keep(self._run, output_text=json_text(self._output))


def keep(run: Run, **columns: Any) -> None:
    """Write columns down while the job is this process's, and know them here."""
    run.own.update(**columns)
    for name, value in columns.items():
        setattr(run.job, name, value)


def stop_late(run: Run, prediction: Prediction) -> None:
    """Its deadline passed before any process had time for it; nothing is billed."""
    if prediction.attempts == 1:
        keep(run, aborted=True)
    raise JobStopped


def left_s(prediction: Prediction) -> float:
    """Until its deadline."""
    if prediction.deadline_at is None:
        return float("inf")
    return (prediction.deadline_at - timezone.now()).total_seconds()


def placed(served: Served) -> str:
    """Where a call went, for the logs."""
    where = f"The router gave it to worker {served.worker} of the pool {served.pool}"
    if served.emulated:
        where += " (emulated)"
    if served.queue_ms is not None:
        where += f" after {served.queue_ms:.0f} ms in its queue"
    return where + "."


def served_columns(served: Served) -> dict[str, Any]:
    """What is kept of it."""
    return {
        "request_id": uuid_of(served.request_id),
        "worker": served.worker,
        "pool": served.pool,
        "cost_nano": served.cost_nano,
        "queue_ms": served.queue_ms,
        "predict_ms": served.predict_ms,
    }


def uuid_of(text: str) -> UUID | None:
    """The id in a text, if there is one."""
    try:
        return UUID(text)
    except ValueError:
        return None
