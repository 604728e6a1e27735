"""Policies by model and version, and the published snapshots."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel


class PolicyKind(models.TextChoices):
    """Each names a file of ``router/scheduling/policies``."""

    LATE_BINDING = "late_binding", _("Late binding: lowest expected time to finish")
    LEAST_OUTSTANDING = "least_outstanding", _("Least outstanding requests")
    ROUND_ROBIN = "round_robin", _("Round robin")


class Policy(models.Model):
    """How a model's requests are placed; the highest version is in force. Never edited."""

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="policies")
    version = models.PositiveIntegerField(editable=False)
    kind = models.CharField(
        max_length=40, choices=PolicyKind.choices, default=PolicyKind.LATE_BINDING
    )
    note = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = _("policies")
        ordering = ["model", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["model", "version"], name="policy_version_unique")
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.kind} v{self.version}"


class SnapshotRow(models.Model):
    """A published :class:`router.contracts.snapshot.Snapshot`.

    ``digest`` covers everything but version and time: the same catalog is not published twice.
    """

    version = models.BigAutoField(primary_key=True)
    schema = models.IntegerField()
    body = models.JSONField()
    digest = models.CharField(max_length=64)
    published_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "routing_snapshot"
        verbose_name = _("snapshot")
        ordering = ["-version"]

    def __str__(self) -> str:
        return f"snapshot {self.version}"
