"""Policies by model and version, and the published snapshots."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel


class PolicyKind(models.TextChoices):
    """Each names a file of ``router/scheduling/policies``."""

    LATE_BINDING = "late_binding", _("Late binding: lowest expected time to finish")
    ROUND_ROBIN = "round_robin", _("Round robin")
    WEIGHTED = "weighted", _("Weighted round robin")
    LEAST_OUTSTANDING = "least_outstanding", _("Least outstanding requests")
    WEIGHTED_LEAST_OUTSTANDING = (
        "weighted_least_outstanding",
        _("Least outstanding requests, by capacity"),
    )
    POWER_OF_TWO = "power_of_two", _("Better of two at random")
    PEAK_EWMA = "peak_ewma", _("Peak-sensitive average latency")
    PREQUAL = "prequal", _("Prequal")
    C3 = "c3", _("C3")
    LEAST_LATENCY = "least_latency", _("Lowest average latency")


class Policy(models.Model):
    """How a model's requests are placed; the highest version is in force. Never edited."""

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="policies")
    version = models.PositiveIntegerField(editable=False)
    kind = models.CharField(
        max_length=40, choices=PolicyKind.choices, default=PolicyKind.LATE_BINDING
    )
    wait_weight = models.FloatField(
        default=5.0,
        validators=[MinValueValidator(0.1), MaxValueValidator(100.0)],
        help_text=_("What a second in the queue counts for against a second of service."),
    )
    usd_weight_s = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0)],
        help_text=_("How many seconds of latency a dollar is worth; 0 ignores prices."),
    )
    hedge_share = models.FloatField(
        default=0.05,
        validators=[MinValueValidator(0.0), MaxValueValidator(0.2)],
        help_text=_("Share of late requests that may run on a second worker too."),
    )
    shared = models.BooleanField(
        default=False,
        help_text=_("Placed by every router over leased slots, rather than by one owner."),
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
