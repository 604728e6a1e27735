"""Presets as they were saved, version by version."""

from django.db import models
from django.utils import timezone

from marketplace.accounts.models import Organisation, User


class Preset(models.Model):
    """One version of a preset; it never changes.

    The last version is in force while it is not ``retired``. ``parameters`` are the other
    fields of a call's body, besides its model and instructions (``system``).
    """

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="presets")
    name = models.SlugField(max_length=60)
    version = models.PositiveIntegerField()
    model = models.CharField(max_length=140, blank=True)
    system = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    retired = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "name", "version"], name="preset_version_unique"
            )
        ]

    def __str__(self) -> str:
        return f"@preset/{self.name}@{self.version}"
