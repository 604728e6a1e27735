"""The work of a pipeline's prediction: its stages, one after another, each a separate call.

A stage that was answered is kept with its output, so that an attempt that takes over goes on behind
it. One that was not is asked for again under its Idempotency-Key, which charges it once.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from marketplace.pipelines.definition import INPUT, Definition, Stage
from marketplace.pipelines.templates import ValueMissing, filled, references_of
from marketplace.predictions.calls.answers import json_text
from marketplace.predictions.calls.call import Call, call_of, schema_check
from marketplace.predictions.calls.conversation import Begun, Conversation, Order, Piece, Waits
from marketplace.predictions.calls.invalid import InputInvalid
from marketplace.predictions.models import Event, Prediction, PredictionStage, Status
from marketplace.predictions.running.job import (
    RUN_S_MAX,
    Notes,
    keep,
    left_s,
    placed,
    prediction_run,
    served_columns,
    stop_late,
    until_answered,
    uuid_of,
)
from marketplace.predictions.selectors import model_wanted
from marketplace.predictions.services import event_tell, prediction_topic
from marketplace.shared.changes import changed
from marketplace.shared.jobs.services import JobFailed, JobStopped, Run


def work(run: Run) -> Mapping[str, Any]:
    """Make the prediction, of a model or of a pipeline; returns the columns to keep."""
    pipeline = run.job.pipeline
    return prediction_run(run) if pipeline is None else pipeline_run(run, pipeline.definition)


def pipeline_run(run: Run, definition: Definition) -> Mapping[str, Any]:
    """Run the stages that have not run; returns the columns to keep.

    The first that fails ends it: what was answered before is billed, and nothing after it runs.
    """
    prediction: Prediction = run.job
    if left_s(prediction) <= 0:
        stop_late(run, prediction)
    event_tell(prediction, Event.START)
    note = Notes(run)
    note.begin()
    values = {INPUT: prediction.input}
    for place, stage in enumerate(definition.stages):
        row, _ = PredictionStage.objects.get_or_create(
            prediction=prediction,
            place=place,
            defaults={"name": stage.name, "model_name": stage.model},
        )
        if row.status is Status.SUCCEEDED:
            note.add(f"Stage {stage.name} was answered before.")
        else:
            StageRun(run, row, note).to_the_end(stage, values)
        values[stage.name] = row.output
    try:
        text = json_text(filled(definition.output, values))
    except ValueMissing as error:
        raise JobFailed(f"The output: {error}") from error
    _check_size(text, "The output")
    event_tell(prediction, Event.OUTPUT, [text])
    note.add("Answered.")
    return {"output_text": text, "logs": note.text}


class StageRun:
    """One stage, from its call to its answer."""

    def __init__(self, run: Run, row: PredictionStage, note: Notes) -> None:
        self._run = run
        self._prediction: Prediction = run.job
        self._row = row
        self._note = note

    def to_the_end(self, stage: Stage, values: Mapping[str, Any]) -> None:
        """Get the answer and store it. Raises ``JobFailed`` or ``JobStopped``."""
        self._note.add(f"Stage {stage.name} begins: {stage.model}.")
        try:
            self._answered(_call(stage, values))
        except JobStopped:
            self._end(Status.CANCELED)
            if self._run.own.exists():
                self._note.add("The call was ended.")
            raise
        except JobFailed as error:
            self._end(Status.FAILED, error=str(error)[:500])
            raise JobFailed(f"Stage {stage.name}: {error}") from error

    def _answered(self, call: Call) -> None:
        prediction = self._prediction
        order = Order(
            caller=prediction.caller,
            call=call,
            priority=prediction.priority,
            idempotency_key=f"prediction:{prediction.uid}:{self._row.name}",
            deadline_s=min(left_s(prediction), RUN_S_MAX),
            bytes_max=settings.WAYPOST_PREDICTION_OUTPUT_BYTES_MAX,
            traceparent=prediction.traceparent,
        )
        with Conversation(order) as conversation:
            answer = until_answered(self._run, conversation, self._note, self._take)
        self._note.add(placed(answer.served))
        columns = served_columns(answer.served)
        self._end(Status.SUCCEEDED, output_text=json_text(answer.output), **columns)

    def _take(self, piece: Piece | None) -> None:
        if isinstance(piece, Waits):
            place = begins_at = None
            if piece.standing is not None:
                place = piece.standing.place
                begins_at = timezone.now() + timedelta(seconds=piece.standing.eta_s)
            keep(self._run, place=place, begins_at=begins_at)
            self._keep(request_id=uuid_of(piece.request_id))
        elif isinstance(piece, Begun):
            keep(self._run, place=None, begins_at=None)
            self._keep(**served_columns(piece.served))

    def _end(self, status: Status, **columns: Any) -> None:
        keep(self._run, place=None, begins_at=None)
        if not self._keep(state=status, **columns) and status is Status.SUCCEEDED:
            raise JobStopped  # Another process has the prediction by now, and this stage.

    def _keep(self, **columns: Any) -> bool:
        """Write columns down while the prediction is this process's, and know them here."""
        own = PredictionStage.objects.filter(pk=self._row.pk, prediction__in=self._run.own)
        for name, value in columns.items():
            setattr(self._row, name, value)
        is_own = bool(own.update(**columns))
        changed(prediction_topic(self._prediction))
        return is_own


def input_check(definition: Definition, given: Any) -> None:
    """Check what can be before it begins: the schema, models, and stages that take the input only.

    Raises :class:`InputInvalid`.
    """
    if definition.input_schema:
        schema_check(definition.input_schema, given)
    for stage in definition.stages:
        heads = {reference.path.head for reference in references_of(stage.input, "input")}
        model = model_wanted(stage.model)
        if model is None:
            raise InputInvalid(
                f"stage {stage.name}: {stage.model} is not offered any more", "model"
            )
        if heads != {INPUT}:
            continue
        try:
            call_of(model, filled(stage.input, {INPUT: given}))
        except (InputInvalid, ValueMissing) as error:
            raise InputInvalid(f"stage {stage.name}: {error}", INPUT) from error


def _call(stage: Stage, values: Mapping[str, Any]) -> Call:
    model = model_wanted(stage.model)
    if model is None:
        raise JobFailed(f"{stage.model} is not offered any more")
    try:
        call = call_of(model, filled(stage.input, values))
    except InputInvalid as error:
        raise JobFailed(f"{error.param}: {error}") from error
    except ValueMissing as error:
        raise JobFailed(str(error)) from error
    _check_size(call.body, "its input")
    return call


def _check_size(text: str | bytes, what: str) -> None:
    most = settings.WAYPOST_PREDICTION_OUTPUT_BYTES_MAX
    if len(text) > most:
        raise JobFailed(f"{what} is longer than {most:,} bytes")
