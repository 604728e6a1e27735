"""Policies by model and version, and the published snapshots."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel


class PolicyKind(models.TextChoices):
    """The kinds of policies; each is a file of ``router/scheduling/policies``."""

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


WEIGHT_MIN, WEIGHT_MAX = 0.1, 10.0


def validate_weights(weights: Any) -> None:
    """Check that weights map deployment ids to factors. Raises ``ValidationError``."""
    if not isinstance(weights, dict) or not all(
        str(key).isdecimal()
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and WEIGHT_MIN <= value <= WEIGHT_MAX
        for key, value in weights.items()
    ):
        raise ValidationError(
            _("Weights map deployment ids to factors from %(least)s to %(most)s."),
            params={"least": WEIGHT_MIN, "most": WEIGHT_MAX},
        )


class PolicyState(models.TextChoices):
    PROPOSED = "proposed", _("Proposed")
    CANARY = "canary", _("Under trial")
    PUBLISHED = "published", _("Published")
    ROLLED_BACK = "rolled_back", _("Rolled back")
    DISMISSED = "dismissed", _("Dismissed")


class Policy(models.Model):
    """A version of a model's policy. Only ``state`` changes after it is created.

    The highest published version is in force; another may be under trial on ``canary_share`` of
    the requests. ``weights``, by deployment id, are factors by which a deployment is taken to be
    faster than the router estimates.
    """

    model = models.ForeignKey(AIModel, on_delete=models.CASCADE, related_name="policies")
    version = models.PositiveIntegerField(editable=False)
    kind = models.CharField(
        max_length=40, choices=PolicyKind.choices, default=PolicyKind.LATE_BINDING
    )
    wait_weight = models.FloatField(
        default=5.0,
        validators=[MinValueValidator(0.1), MaxValueValidator(100.0)],
        help_text=_("How much a second in the queue counts, compared with a second of service."),
    )
    usd_weight_s = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0)],
        help_text=_("How many seconds of latency a dollar is worth; 0 ignores prices."),
    )
    hedge_share = models.FloatField(
        default=0.05,
        validators=[MinValueValidator(0.0), MaxValueValidator(0.2)],
        help_text=_("Share of late requests that may also run on a second worker."),
    )
    shared = models.BooleanField(
        default=False,
        help_text=_(
            "Every router places calls over leased slots, instead of one router that "
            "owns the model."
        ),
    )
    weights = models.JSONField(default=dict, blank=True, validators=[validate_weights])
    state = models.CharField(
        max_length=12, choices=PolicyState.choices, default=PolicyState.PUBLISHED, editable=False
    )
    canary_share = models.FloatField(
        default=0.0,
        editable=False,
        validators=[MinValueValidator(0.0), MaxValueValidator(0.5)],
        help_text=_("Share of the requests in the trial."),
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
            models.UniqueConstraint(fields=["model", "version"], name="policy_version_unique"),
            models.UniqueConstraint(
                fields=["model"], condition=models.Q(state="canary"), name="policy_one_canary"
            ),
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


# Django imports only an app's own `models` module.
import marketplace.routing.trials.models  # noqa: E402, F401
