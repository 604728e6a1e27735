"""Predictions, and the events of each."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation
from marketplace.catalog.models import AIModel
from marketplace.inference.callers import Caller
from marketplace.pipelines.models import Pipeline
from marketplace.shared.jobs.models import Job, JobState
from marketplace.shared.jobs.periodic import Queue
from router.domain.tracing import traceparent_of


class Status(models.TextChoices):
    """The words of the API for the states of a job."""

    STARTING = "starting", _("Waiting")
    PROCESSING = "processing", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELED = "canceled", _("Cancelled")
    ABORTED = "aborted", _("Too late to start")


class Event(models.TextChoices):
    """Events of a prediction, for webhooks and its stream."""

    START = "start", _("Start")
    OUTPUT = "output", _("Output")
    LOGS = "logs", _("Logs")
    COMPLETED = "completed", _("Completed")


STATUSES = {
    JobState.QUEUED: Status.STARTING,
    JobState.RUNNING: Status.PROCESSING,
    JobState.SUCCEEDED: Status.SUCCEEDED,
    JobState.FAILED: Status.FAILED,
    JobState.CANCELLED: Status.CANCELED,
}


class Prediction(Job):
    """One call of a model or of a pipeline that a job process makes for its caller.

    It has the one or the other. ``called_name`` is what its call names if that is not the model's
    own name: ``auto``, for which it has neither, or a preset. A ``version`` that is not ``pinned``
    is the one that was served when it was asked for. Where a pipeline's calls went and what they
    cost is in its stages.
    ``input_text`` and ``output_text`` are JSON as text, which keeps the order of keys and every
    character. ``aborted`` says that its deadline passed before it started. ``place`` and
    ``begins_at`` are where it stands in the router's queue. Figures are null until the router has
    said them. An ``idempotency_key`` is one of its caller's.
    """

    # Somebody may wait for it, and batches and what-ifs take minutes.
    queue = Queue.CALLS

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="predictions"
    )
    account_id = models.BigIntegerField()
    key_id = models.BigIntegerField(default=0)
    user_id = models.BigIntegerField(default=0)
    model = models.ForeignKey(
        AIModel, on_delete=models.CASCADE, null=True, blank=True, related_name="predictions"
    )
    pipeline = models.ForeignKey(
        Pipeline, on_delete=models.CASCADE, null=True, blank=True, related_name="predictions"
    )
    called_name = models.CharField(max_length=160, blank=True, db_default="")
    version = models.CharField(max_length=40)
    pinned = models.BooleanField(default=False, db_default=False)
    input_text = models.TextField()
    output_text = models.TextField(blank=True)
    logs = models.TextField(blank=True)
    priority = models.CharField(max_length=11)
    webhook = models.CharField(max_length=2_000, blank=True)
    webhook_events = ArrayField(models.CharField(max_length=9), default=list, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    aborted = models.BooleanField(default=False)
    place = models.PositiveIntegerField(null=True, blank=True)
    begins_at = models.DateTimeField(null=True, blank=True)
    request_id = models.UUIDField(null=True, blank=True)
    worker = models.CharField(max_length=80, blank=True)
    pool = models.CharField(max_length=60, blank=True)
    cost_nano = models.BigIntegerField(null=True, blank=True)
    queue_ms = models.FloatField(null=True, blank=True)
    predict_ms = models.FloatField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=255, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["organisation", "-id"], name="prediction_by_organisation"),
            models.Index(
                fields=["id"],
                name="prediction_open",
                condition=models.Q(state__in=["queued", "running"]),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "key_id", "user_id", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="prediction_idempotency_key_unique",
            ),
            models.CheckConstraint(
                condition=models.Q(model__isnull=False, pipeline=None)
                | models.Q(model=None, pipeline__isnull=False, called_name="")
                | models.Q(~models.Q(called_name=""), model=None, pipeline=None),
                name="prediction_of_model_or_pipeline",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_name}: prediction {self.uid}"

    @property
    def model_name(self) -> str:
        """What it was asked of: a model's name, a pipeline's, or what stands for a model."""
        if self.called_name:
            return self.called_name
        called = self.pipeline or self.model
        return called.name if called is not None else ""

    stages_known: Sequence[PredictionStage] = ()
    """Its stages as they were when their figures were filled."""

    @property
    def caller(self) -> Caller:
        return Caller(self.organisation_id, self.account_id, self.key_id, self.user_id)

    @property
    def traceparent(self) -> str:
        """Its trace, which all of its calls belong to, has its own id."""
        share = 1.0 if settings.TRACE_SHARE is None else settings.TRACE_SHARE
        return traceparent_of("", str(self.uid), share)[0]

    @property
    def status(self) -> Status:
        return Status.ABORTED if self.aborted else STATUSES[JobState(self.state)]

    @property
    def input(self) -> Any:
        return json.loads(self.input_text)

    @property
    def output(self) -> Any:
        return json.loads(self.output_text) if self.output_text else None


class PredictionStage(models.Model):
    """A stage of a pipeline, from when its call began. Figures are null until they are known."""

    prediction = models.ForeignKey(Prediction, on_delete=models.CASCADE, related_name="stages")
    place = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=40)
    model_name = models.CharField(max_length=120)
    state = models.CharField(max_length=10, choices=Status.choices, default=Status.PROCESSING)
    error = models.CharField(max_length=500, blank=True)
    output_text = models.TextField(blank=True)
    request_id = models.UUIDField(null=True, blank=True)
    worker = models.CharField(max_length=80, blank=True)
    pool = models.CharField(max_length=60, blank=True)
    cost_nano = models.BigIntegerField(null=True, blank=True)
    queue_ms = models.FloatField(null=True, blank=True)
    predict_ms = models.FloatField(null=True, blank=True)

    class Meta:
        ordering = ["place"]
        indexes = [models.Index(fields=["request_id"], name="prediction_stage_by_call")]
        constraints = [
            models.UniqueConstraint(fields=["prediction", "place"], name="prediction_stage_unique")
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.prediction_id}"

    @property
    def status(self) -> Status:
        return Status(self.state)

    @property
    def is_over(self) -> bool:
        return self.status is not Status.PROCESSING

    @property
    def output(self) -> Any:
        return json.loads(self.output_text) if self.output_text else None


class PredictionEvent(models.Model):
    """The events on a prediction's stream, in the order of ids.

    ``text`` has one piece of output or of logs a line. A ``start`` after output says that its
    process was lost and that the output starts again.
    """

    prediction = models.ForeignKey(Prediction, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=9, choices=Event.choices)
    text = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["prediction", "id"], name="prediction_events")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.prediction_id}"
