"""What was asked and answered."""

from django.db import models

from marketplace.catalog.models import AIModel
from marketplace.planning.advisor.models import Advice as Advice
from marketplace.shared.jobs.models import Job


class WhatIf(Job):
    """One question to the simulator and its answer: :mod:`marketplace.planning.whatif`.

    ``question`` is a :class:`~marketplace.planning.whatif.question.Question` and ``answer`` a
    :class:`~marketplace.planning.whatif.answer.Answer` as JSON, null until it is done.
    """

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="what_ifs")
    question = models.JSONField()
    answer = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.model}: what if #{self.pk}"
