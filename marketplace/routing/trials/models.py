"""Settings of routes, trials, the history of routes, and stragglers."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel, Deployment, Worker
from marketplace.routing.models import Policy, PolicyState
from marketplace.routing.trials import aim


class Mode(models.TextChoices):
    """What automatic tuning may do on a route."""

    AUTOMATIC = "automatic", _("Automatic: a proposal is tried once its replay allows it")
    ASK = "ask", _("Ask first: a person approves each trial")
    OFF = "off", _("Off: nothing is proposed automatically")


class RouteTuning(models.Model):
    """A route's settings. ``error_budget`` is the share of daily calls that may miss ``slo_ms``."""

    model = models.OneToOneField(AIModel, on_delete=models.CASCADE, related_name="tuning")
    mode = models.CharField(max_length=10, choices=Mode.choices, default=Mode.ASK)
    canary_share = models.FloatField(
        default=0.1, validators=[MinValueValidator(0.01), MaxValueValidator(0.5)]
    )
    slo_ms = models.FloatField(
        default=5_000.0, validators=[MinValueValidator(1.0), MaxValueValidator(3_600_000.0)]
    )
    error_budget = models.FloatField(
        default=0.01, validators=[MinValueValidator(0.0001), MaxValueValidator(0.5)]
    )
    samples_min = models.PositiveIntegerField(
        default=200, validators=[MinValueValidator(50), MaxValueValidator(1_000_000)]
    )
    updated_at = models.DateTimeField(auto_now=True)
    looked_at = models.DateTimeField(null=True, editable=False)
    """When automatic tuning last began to look for a proposal."""

    class Meta:
        ordering = ["model"]

    def __str__(self) -> str:
        return f"{self.model}: {self.mode}"


class Aim(models.TextChoices):
    """See :class:`marketplace.routing.trials.aim.Aim`."""

    LATENCY = aim.Aim.LATENCY.value, _("Lower latency")
    MISSES = aim.Aim.MISSES.value, _("Fewer misses")
    NOT_WORSE = aim.Aim.NOT_WORSE.value, _("Better in replay, and not worse for its own calls")


class Trial(models.Model):
    """A proposed policy version with its evidence, and its canary.

    ``policy.state`` is its state. ``evidence`` says why it was proposed, in figures
    (:mod:`marketplace.tuning.sentences` puts them into words); ``looks`` are the steps of the
    sequential test: both arms and the reading. ``replay`` is the
    :class:`~marketplace.tuning.proofs.proof.Proof` from before the canary, empty in old trials.
    ``asked_by`` is None for automatic tuning.
    """

    policy = models.OneToOneField(Policy, on_delete=models.CASCADE, related_name="trial")
    baseline = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="+")
    aim = models.CharField(max_length=10, choices=Aim.choices)
    evidence = models.JSONField(default=dict)
    replay = models.JSONField(default=dict)
    asked_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    budget_calls = models.FloatField(default=0.0)
    looks = models.JSONField(default=list)
    ended_because = models.CharField(max_length=20, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"trial of {self.policy}"

    @property
    def is_open(self) -> bool:
        """Whether it waits for a person, or runs."""
        return self.policy.state in (PolicyState.PROPOSED, PolicyState.CANARY)


class EventKind(models.TextChoices):
    PROPOSED = "proposed", _("Proposed")
    APPROVED = "approved", _("Approved")
    STARTED = "started", _("Trial started")
    PROMOTED = "promoted", _("Promoted")
    ROLLED_BACK = "rolled_back", _("Rolled back")
    DISMISSED = "dismissed", _("Dismissed")
    PUBLISHED = "published", _("Published by hand")
    REVERTED = "reverted", _("Reverted to an earlier version")
    TUNED = "tuned", _("Settings changed")
    DRAINED = "drained", _("Worker drained")
    UNDRAINED = "undrained", _("Worker put back")


class RoutingEvent(models.Model):
    """Who did what to a route, and why. A database trigger refuses changes.

    It holds plain names and numbers, as the rows it names may be deleted. ``actor`` is an address,
    or ``loop``. ``why`` is a reason's name or a person's text.
    """

    model = models.TextField()
    kind = models.CharField(max_length=12, choices=EventKind.choices)
    version = models.PositiveIntegerField(default=0)
    policy_id = models.BigIntegerField(default=0)
    actor = models.TextField()
    why = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["model", "-id"], name="routing_event_by_model")]

    def __str__(self) -> str:
        return f"{self.model} v{self.version}: {self.kind} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None and not self._state.adding:
            raise ValidationError(_("History cannot be changed."))
        super().save(*args, **kwargs)


class Straggler(models.Model):
    """A worker that is significantly slower than its pool; ``cleared_at`` is set once it is not."""

    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="strayings")
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="+")
    evidence = models.JSONField(default=dict)
    since = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(auto_now=True)
    cleared_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["worker", "deployment"],
                condition=models.Q(cleared_at=None),
                name="straggler_named_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.worker} strays"
