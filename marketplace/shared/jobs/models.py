"""The columns and states that every kind of job has. Its table is its feature's own."""

from datetime import datetime
from math import ceil
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.shared.jobs.periodic import Queue


class JobState(models.TextChoices):
    """Queued, running, then one of the others. The API's word for succeeded is ``done``."""

    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    SUCCEEDED = "done", _("Done")
    CANCELLED = "cancelled", _("Cancelled")
    FAILED = "failed", _("Failed")


STATES_OPEN = (JobState.QUEUED, JobState.RUNNING)


class Job(models.Model):
    """Work that somebody asked for and that a job process does: :mod:`.services`.

    ``progress`` goes from 0 to 1. ``attempts`` counts how often it was started. A running job whose
    ``heartbeat_at`` is old has lost its process. A kind's jobs are begun in its ``queue``.
    """

    queue: ClassVar[Queue] = Queue.WORK

    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    progress = models.FloatField(default=0.0)
    error = models.CharField(max_length=500, blank=True)
    cancel_requested = models.BooleanField(default=False)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def is_over(self) -> bool:
        return self.state not in STATES_OPEN

    @property
    def percent(self) -> int:
        return round(100 * self.progress)

    @property
    def traceparent(self) -> str:
        """The trace that its span and its calls belong to; "" where each begins its own."""
        return ""

    def ends_at(self, now: datetime) -> datetime | None:
        """When it ends if it goes on as it did; None while nobody can say."""
        if self.state != JobState.RUNNING or self.started_at is None or not self.progress:
            return None
        return self.started_at + (now - self.started_at) / self.progress

    @property
    def seconds_left(self) -> int | None:
        """The same as whole seconds from now, at least one."""
        now = timezone.now()
        ends_at = self.ends_at(now)
        return None if ends_at is None else max(ceil((ends_at - now).total_seconds()), 1)
