"""Answers that are kept."""

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation, User


class AdviceState(models.TextChoices):
    """An answer of the model is there at once; the check by emulation follows as a job."""

    ANSWERED = "answered", _("Answered")
    QUEUED = "queued", _("Waiting to be checked")
    CHECKING = "checking", _("Being checked")
    CHECKED = "checked", _("Checked")
    FAILED = "failed", _("The check failed")


STATES_WAITING = (AdviceState.QUEUED, AdviceState.CHECKING)


class Advice(models.Model):
    """A question of an organisation and its answer (:mod:`.question`, :mod:`.answer`, as JSON).

    ``emulated`` marks an answer that rests on emulated figures. ``stage`` and ``runs`` say how far
    a check is.
    """

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="advice")
    requested_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    model = models.CharField(max_length=120)
    question = models.JSONField()
    answer = models.JSONField()
    state = models.CharField(
        max_length=10, choices=AdviceState.choices, default=AdviceState.ANSWERED
    )
    stage = models.CharField(max_length=20, blank=True)
    runs = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    emulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = _("advice")
        indexes = [models.Index(fields=["organisation", "-id"], name="advice_of_organisation")]

    def __str__(self) -> str:
        return f"{self.model} #{self.pk}"

    @property
    def is_waiting(self) -> bool:
        return self.state in STATES_WAITING

    @property
    def fleet(self) -> dict[str, Any] | None:
        """The advised fleet, as JSON keeps it."""
        return self.answer.get("fleet")
