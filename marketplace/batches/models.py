"""Files of an organisation, and batches: a file's lines as calls."""

import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation
from marketplace.shared.jobs.models import Job

ID_BYTES = 12


def file_id() -> str:
    """What a file is called by clients."""
    return f"file-{secrets.token_hex(ID_BYTES)}"


def batch_id() -> str:
    """What a batch is called by clients."""
    return f"batch_{secrets.token_hex(ID_BYTES)}"


class Purpose(models.TextChoices):
    """OpenAI's words: what was uploaded, and what a batch has made."""

    BATCH = "batch", _("Input of batches")
    BATCH_OUTPUT = "batch_output", _("Created by a batch")


class File(models.Model):
    """Its bytes are in the storage ``files`` as ``stored_as``, until ``expires_at``."""

    public_id = models.CharField(max_length=40, unique=True, default=file_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="files")
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    filename = models.CharField(max_length=255)
    size_bytes = models.PositiveBigIntegerField()
    stored_as = models.CharField(max_length=255)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["organisation", "-id"], name="file_of_organisation"),
            models.Index(fields=["expires_at"], name="file_expires"),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.filename})"


class BatchStatus(models.TextChoices):
    """OpenAI's words. The last four are ends."""

    VALIDATING = "validating", _("Validating")
    IN_PROGRESS = "in_progress", _("In progress")
    FINALIZING = "finalizing", _("Finalizing")
    CANCELLING = "cancelling", _("Cancelling")
    COMPLETED = "completed", _("Completed")
    FAILED = "failed", _("Failed")
    EXPIRED = "expired", _("Expired")
    CANCELLED = "cancelled", _("Cancelled")


STATUSES_OPEN = (
    BatchStatus.VALIDATING,
    BatchStatus.IN_PROGRESS,
    BatchStatus.FINALIZING,
    BatchStatus.CANCELLING,
)


class BatchKind(models.TextChoices):
    """What the lines of the input are."""

    LINES = "lines", _("Calls (JSONL)")
    ROWS = "rows", _("Rows (CSV)")


class Batch(Job):
    """The lines of ``input_file``, each a call of the requester: a key, or a person.

    The input's id stays when the file is gone. ``errors`` are what is wrong with the file, if that
    keeps the batch from beginning. ``rate_hz`` is how many lines ended a second lately, ``turn_at``
    when it last made room for other batches. Its parts are kept until ``delivered_at``, when it has
    got the files that they are joined to. Rows are sent in pieces of ``piece_rows`` at most,
    which get smaller once they are few for ``pieces_at_once`` calls. An ``idempotency_key`` is one
    of its caller's.
    """

    public_id = models.CharField(max_length=40, unique=True, default=batch_id, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="batches")
    account_id = models.BigIntegerField()
    key_id = models.BigIntegerField(default=0)
    user_id = models.BigIntegerField(default=0)
    endpoint = models.CharField(max_length=200)
    input_file = models.ForeignKey(
        File,
        to_field="public_id",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="batches",
    )
    output_file = models.ForeignKey(
        File,
        to_field="public_id",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    error_file = models.ForeignKey(
        File,
        to_field="public_id",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    kind = models.CharField(max_length=8, choices=BatchKind.choices, default=BatchKind.LINES)
    piece_rows = models.PositiveIntegerField(default=0)
    pieces_at_once = models.PositiveIntegerField(default=0)
    completion_window = models.CharField(max_length=10)
    metadata = models.JSONField(default=dict, blank=True)
    status = models.CharField(
        max_length=12, choices=BatchStatus.choices, default=BatchStatus.VALIDATING
    )
    model_names = models.JSONField(default=list, blank=True)
    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    rate_hz = models.FloatField(default=0.0)
    errors = models.JSONField(default=list, blank=True)
    turn_at = models.DateTimeField(default=timezone.now)
    in_progress_at = models.DateTimeField(null=True, blank=True)
    finalizing_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    expired_at = models.DateTimeField(null=True, blank=True)
    cancelling_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=255, blank=True, db_default="")
    fingerprint = models.CharField(max_length=64, blank=True, db_default="")

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = _("batches")
        indexes = [models.Index(fields=["organisation", "-id"], name="batch_of_organisation")]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "key_id", "user_id", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="batch_idempotency_key_unique",
            )
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def is_open(self) -> bool:
        """Whether something is still done for it."""
        return self.status in STATUSES_OPEN

    @property
    def folder(self) -> str:
        """Of its parts, in the storage."""
        return f"{self.organisation_id}/{self.public_id}"

    @property
    def done(self) -> int:
        """How many lines have ended, well or not."""
        return self.completed + self.failed

    @property
    def share(self) -> float:
        """How far it is, from 0 to 1."""
        return self.done / self.total if self.total else 0.0

    def lines_end_at(self, now: datetime) -> datetime | None:
        """When its last line ends if it goes on as lately; None while nobody can say."""
        if self.status != BatchStatus.IN_PROGRESS or self.rate_hz <= 0:
            return None
        return now + timedelta(seconds=(self.total - self.done) / self.rate_hz)


class BatchPart(models.Model):
    """The results of some lines or pieces: kept once written, whatever happens to the process.

    ``ranges`` are those that were answered, ``failed_ranges`` the others: ``[[first, last], …]`` by
    their numbers in the file. Objects of the storage hold their results, "" where there are none.
    """

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="parts")
    ranges = models.JSONField()
    failed_ranges = models.JSONField(default=list)
    completed = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    output_as = models.CharField(max_length=255, blank=True)
    errors_as = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.batch}: {self.ranges}"
