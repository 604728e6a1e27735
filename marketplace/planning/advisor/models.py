"""Answers that are kept."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation
from marketplace.shared.jobs.models import Job, JobState


class AdviceState(models.TextChoices):
    """An answer of the model is there at once; the check by emulation follows as a job."""

    ANSWERED = "answered", _("Answered")
    QUEUED = "queued", _("Waiting to be checked")
    CHECKING = "checking", _("Being checked")
    CHECKED = "checked", _("Checked")
    FAILED = "failed", _("The check failed")


STATES_OF_CHECKS = {
    JobState.QUEUED: AdviceState.QUEUED,
    JobState.RUNNING: AdviceState.CHECKING,
    JobState.FAILED: AdviceState.FAILED,
}
"""Where the job is over otherwise, the answer says whether it was checked."""


class Advice(Job):
    """A question of an organisation and its answer (:mod:`.question`, :mod:`.answer`, as JSON).

    The job is the check of the answer by emulation; it is over from the start where none follows.
    ``emulated`` marks an answer that rests on emulated figures. ``stage`` and ``runs`` say how far
    a check is.
    """

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="advice")
    model = models.CharField(max_length=120)
    question = models.JSONField()
    answer = models.JSONField()
    stage = models.CharField(max_length=20, blank=True)
    runs = models.PositiveIntegerField(default=0)
    emulated = models.BooleanField(default=False)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = _("advice")
        indexes = [models.Index(fields=["organisation", "-id"], name="advice_of_organisation")]

    def __str__(self) -> str:
        return f"{self.model} #{self.pk}"

    @property
    def check_state(self) -> AdviceState:
        """How far it is, in the API's words."""
        if self.state in STATES_OF_CHECKS:
            return STATES_OF_CHECKS[JobState(self.state)]
        return AdviceState.CHECKED if self.answer.get("check") else AdviceState.ANSWERED
