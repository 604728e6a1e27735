"""A dead letter, as a worker put it into the queue of the dead."""

from django.conf import settings
from django.db import models

from marketplace.shared.jobs.letters import DETAIL_MAX, Reason


class DeadLetter(models.Model):
    """``body`` is None where it was too large to be kept: such a letter cannot be retried."""

    letter_id = models.UUIDField(unique=True, editable=False)
    reason = models.CharField(max_length=12, choices=Reason.choices)
    detail = models.CharField(max_length=DETAIL_MAX, blank=True)
    task = models.CharField(max_length=200, blank=True)
    queue = models.CharField(max_length=80, blank=True)
    headers = models.TextField()
    """As JSON: PostgreSQL's own type keeps no NUL."""
    body = models.BinaryField(null=True)
    content_type = models.CharField(max_length=200, blank=True)
    content_encoding = models.CharField(max_length=80, blank=True)
    kept_at = models.DateTimeField(auto_now_add=True)
    retried_at = models.DateTimeField(null=True, blank=True)
    retried_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.task or '?'} · {self.reason}"
