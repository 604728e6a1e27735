"""Pipelines as they were defined, version by version."""

import msgspec
from django.db import models
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.pipelines.definition import Definition


class Pipeline(models.Model):
    """One version of a pipeline; it never changes, so that what runs goes on as it began.

    ``definition_text`` is JSON as text, which keeps the order of keys and every character.

    Without an organisation it is everybody's. The last version is the one that is called, while it
    is ``published``.
    """

    name = models.CharField(max_length=120)
    version = models.PositiveIntegerField()
    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, null=True, blank=True, related_name="pipelines"
    )
    definition_text = models.TextField()
    published = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="pipeline_version_unique")
        ]

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def author(self) -> str:
        """The name's first part."""
        return self.name.partition("/")[0]

    @property
    def slug(self) -> str:
        """The name's second part."""
        return self.name.partition("/")[2]

    @property
    def definition(self) -> Definition:
        """What was checked when it was defined."""
        return msgspec.json.decode(self.definition_text, type=Definition)
