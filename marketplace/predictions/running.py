"""The work of a job: have the router answer, and write down what comes as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from marketplace.predictions.answers import Served
from marketplace.predictions.calls import call_of
from marketplace.predictions.conversation import (
    Answered,
    Begun,
    Chunks,
    Conversation,
    Order,
    Piece,
    Refused,
    Waits,
)
from marketplace.predictions.invalid import InputInvalid
from marketplace.predictions.models import Event, Prediction
from marketplace.predictions.selectors import version_served
from marketplace.predictions.services import event_tell, prediction_topic
from marketplace.shared.changes import changed
from marketplace.shared.jobs.services import JobFailed, JobStopped, Run

RUN_S_MAX = 600.0
"""The longest that one attempt may wait and run at the router."""
TICK_S = 0.1
FLUSH_S = 0.25
"""How often new output is written down while it comes."""
WEBHOOK_EVERY_S = 1.0
"""How often a webhook is told of it."""


def prediction_run(run: Run) -> Mapping[str, Any]:
    """Make the call; returns the columns to keep."""
    prediction: Prediction = run.job
    left_s = _left_s(prediction)
    if left_s <= 0:
        _stop_late(run, prediction)
    try:
        order = _order(prediction, min(left_s, RUN_S_MAX))
    except InputInvalid as error:
        raise JobFailed(f"{error.param}: {error}") from error
    event_tell(prediction, Event.START)
    note = Notes(run)
    note.add(
        f"Given to the router at {prediction.priority} priority"
        + (f", attempt {prediction.attempts}." if prediction.attempts > 1 else ".")
    )
    with Conversation(order) as conversation:
        return Following(run, conversation, note).to_the_end()


def _order(prediction: Prediction, deadline_s: float) -> Order:
    served = version_served(prediction.model)
    if served is not None and served != prediction.version:
        raise JobFailed(f"Version {prediction.version} is not served any more; {served} is.")
    return Order(
        caller=prediction.caller,
        call=call_of(prediction.model, prediction.input),
        priority=prediction.priority,
        idempotency_key=f"prediction:{prediction.uid}",
        deadline_s=deadline_s,
        bytes_max=settings.WAYPOST_PREDICTION_OUTPUT_BYTES_MAX,
    )


class Notes:
    """The logs of a prediction: a line for each thing that happened, with its time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.text: str = run.job.logs

    def add(self, line: str) -> None:
        """Write a line, and tell it."""
        said = f"{timezone.now():%H:%M:%S} {line}"
        self.text += said + "\n"
        keep(self._run, logs=self.text)
        event_tell(self._run.job, Event.LOGS, [said])


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
            while True:
                piece = self._conversation.next(TICK_S)
                if isinstance(piece, Answered):
                    return self._answered(piece)
                if isinstance(piece, Refused):
                    raise JobFailed(piece.message)
                self._take(piece)
                self._run.progress(0.0)
                if _left_s(self._prediction) <= 0:
                    self._note.add("Its deadline passed.")
                    raise JobStopped
                connection_rest()
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
            keep(self._run, place=None, begins_at=None, **_columns(piece.served))
            if piece.served.worker:  # Else only the end of the stream knows it.
                self._note.add(_placed(piece.served))
        elif isinstance(piece, Chunks):
            self._lines += piece.texts
            self._output = piece.output
        now_s = time.monotonic()
        if self._lines and now_s - self._flushed_s >= FLUSH_S:
            self._flush()
            self._flushed_s = now_s

    def _wait(self, piece: Waits) -> None:
        """It stands in the router's queue: say where, so that whoever looks knows."""
        place = begins_at = None
        if piece.standing is not None:
            place = piece.standing.place
            begins_at = timezone.now() + timedelta(seconds=piece.standing.eta_s)
        request_id = _uuid(piece.request_id)
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
            self._prediction.output_text = _as_text(self._output)
        event_tell(self._prediction, Event.OUTPUT, lines, to_webhook=to_webhook)

    def _answered(self, piece: Answered) -> Mapping[str, Any]:
        if not self._served.worker:
            self._note.add(_placed(piece.served))
        self._flush()
        text = _as_text(piece.output)
        if self._output is None:
            self._output = piece.output
            self._tell_output([text])
        self._note.add("Answered.")
        return {"output_text": text, "logs": self._note.text, **_columns(piece.served)}

    def _keep_what_came(self) -> None:
        """What was delivered is billed, so it is kept."""
        self._flush()
        if self._output is not None:
            keep(self._run, output_text=_as_text(self._output))


def keep(run: Run, **columns: Any) -> None:
    """Write columns down while the job is this process's, and know them here."""
    run.own.update(**columns)
    for name, value in columns.items():
        setattr(run.job, name, value)


def connection_rest() -> None:
    """Give the connection back to the pool while there is nothing to write."""
    if not connection.in_atomic_block:
        connection.close()


def _stop_late(run: Run, prediction: Prediction) -> None:
    """Its deadline passed before any process had time for it; nothing is billed."""
    if prediction.attempts == 1:
        keep(run, aborted=True)
    raise JobStopped


def _as_text(output: Any) -> str:
    return json.dumps(output, separators=(",", ":"))


def _left_s(prediction: Prediction) -> float:
    if prediction.deadline_at is None:
        return float("inf")
    return (prediction.deadline_at - timezone.now()).total_seconds()


def _placed(served: Served) -> str:
    where = f"The router gave it to worker {served.worker} of the pool {served.pool}"
    if served.emulated:
        where += " (emulated)"
    if served.queue_ms is not None:
        where += f" after {served.queue_ms:.0f} ms in its queue"
    return where + "."


def _columns(served: Served) -> dict[str, Any]:
    return {
        "request_id": _uuid(served.request_id),
        "worker": served.worker,
        "pool": served.pool,
        "cost_nano": served.cost_nano,
        "queue_ms": served.queue_ms,
        "predict_ms": served.predict_ms,
    }


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
