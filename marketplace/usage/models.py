"""One row for each call. Only ``billing_settle`` inserts rows, together with the transfers.

A call that ran is recorded even if a row that it names is deleted, so references are plain numbers
and names. Fields mirror :class:`router.contracts.record.UsageRecord`.
Sums over the calls of an hour and of a day are written in the same transaction.
"""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.usage.refusals.models import Refusal
from marketplace.usage.rollups.app_models import AppRanking, AppRollup
from marketplace.usage.rollups.caller_models import CallerRollup
from marketplace.usage.rollups.deployment_models import (
    DeploymentRollup,
    ModelHistory,
    ModelRanking,
    RankingWindow,
)
from router.domain.outcome import Outcome
from router.domain.pricing import PriceClass

__all__ = [
    "AppRanking",
    "AppRollup",
    "CallerRollup",
    "DeploymentRollup",
    "Detachment",
    "ModelFigures",
    "ModelHistory",
    "ModelRanking",
    "RankingWindow",
    "Refusal",
    "Span",
    "UsageEvent",
    "UsageRollup",
]
OUTCOMES: dict[str, object] = {
    Outcome.COMPLETED: _("Completed"),
    Outcome.CLIENT_GONE: _("Client left"),
    Outcome.TRUNCATED: _("Cut short"),
    Outcome.INTERRUPTED: _("Interrupted"),
    Outcome.REFUSED: _("Refused"),
    Outcome.REJECTED: _("Not run"),
    Outcome.WORKER_FAILED: _("Worker failed"),
}
"""The label of each outcome."""
COUNTS = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "rows",
    "images",
    "hardware_ms",
)


class UsageEvent(models.Model):
    """Partitioned by month of ``request_id``, a UUIDv7 of the same clock as ``created_at``."""

    request_id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(db_default=Now())
    router_id = models.TextField()
    lease_id = models.UUIDField(null=True)
    account_id = models.BigIntegerField()
    organisation_id = models.BigIntegerField()
    key_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    policy_id = models.BigIntegerField(default=0, db_default=0)
    model = models.TextField()
    kind = models.TextField()
    outcome = models.TextField()
    http_status = models.IntegerField()
    streamed = models.BooleanField()
    finish_reason = models.TextField()
    deployment_id = models.BigIntegerField()
    price_id = models.BigIntegerField()
    price_class = models.TextField(default=PriceClass.STANDARD, db_default=PriceClass.STANDARD)
    asked = models.TextField(default="", db_default="")
    why = models.TextField(default="", db_default="")
    masked = models.TextField(default="", db_default="")
    guarded = models.TextField(default="", db_default="")
    error = models.TextField(default="", db_default="")
    app = models.TextField(default="", db_default="")
    app_title = models.TextField(default="", db_default="")
    provider_account_id = models.BigIntegerField()
    worker_id = models.TextField()
    pool = models.TextField()
    hold_nano = models.BigIntegerField()
    charge_nano = models.BigIntegerField()
    commission_nano = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    rows = models.BigIntegerField()
    images = models.BigIntegerField()
    hardware_ms = models.BigIntegerField(default=0, db_default=0)
    place = models.IntegerField(default=0, db_default=0)
    eta_ms = models.FloatField(default=0, db_default=0)
    queue_ms = models.FloatField()
    ttft_ms = models.FloatField()
    upstream_ms = models.FloatField()
    total_ms = models.FloatField()
    attempts = models.JSONField()
    candidates = models.JSONField()

    class Meta:
        db_table = "usage_event"
        ordering = ["-request_id"]
        indexes = [
            models.Index(fields=["organisation_id", "-request_id"], name="usage_by_organisation"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    hold_nano__gte=models.F("charge_nano"),
                    charge_nano__gte=models.F("commission_nano"),
                    **{f"{name}__gte": 0 for name in ("commission_nano", *COUNTS)},
                ),
                name="usage_event_adds_up",
            )
        ]

    def __str__(self) -> str:
        return str(self.request_id)

    @property
    def outcome_label(self) -> str:
        return str(OUTCOMES.get(self.outcome, self.outcome))

    @property
    def tokens_total(self) -> int:
        return (
            self.prompt_tokens + self.cached_tokens + self.completion_tokens + self.reasoning_tokens
        )


class Span(models.TextChoices):
    HOUR = "hour", _("Hour")
    DAY = "day", _("Day")


class UsageRollup(models.Model):
    """Sums over the calls of one hour or day (UTC) that are alike in all of the key's fields.

    ``ttft_cells`` and ``total_cells`` are histograms, see ``sql/rollups.sql`` and ``latency.py``.
    """

    pk = models.CompositePrimaryKey(
        "organisation_id",
        "span",
        "starts_at",
        "key_id",
        "user_id",
        "model",
        "deployment_id",
        "outcome",
    )
    organisation_id = models.BigIntegerField()
    span = models.TextField(choices=Span.choices)
    starts_at = models.DateTimeField()
    key_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    model = models.TextField()
    deployment_id = models.BigIntegerField()
    outcome = models.TextField()
    calls = models.BigIntegerField()
    charge_nano = models.BigIntegerField()
    commission_nano = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    rows = models.BigIntegerField()
    images = models.BigIntegerField()
    queue_ms = models.FloatField()
    ttft_ms = models.FloatField()
    total_ms = models.FloatField()
    ttft_cells = ArrayField(models.BigIntegerField())
    total_cells = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "usage_rollup"
        indexes = [
            # For recent calls of all customers: rows lie roughly in the order of time.
            BrinIndex(fields=["starts_at"], name="usage_rollup_by_time", pages_per_range=16),
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.span} of {self.starts_at:%Y-%m-%d %H:%M}"


class ModelFigures(models.Model):
    """Latencies of a public model's completed calls over all customers, as last computed.

    Percentiles of all models cost too much for each view of the catalog, so a job keeps them here.
    ``placed`` calls reached a worker; ``faults`` are those that the worker failed.
    """

    model = models.TextField(primary_key=True)
    calls = models.BigIntegerField()
    ttft_ms_p50 = models.FloatField()
    total_ms_p50 = models.FloatField()
    total_ms_p99 = models.FloatField()
    tokens_per_s = models.FloatField(null=True)
    placed = models.BigIntegerField(default=0)
    faults = models.BigIntegerField(default=0)
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "usage_model_figures"
        indexes = [models.Index(fields=["-calls"], name="usage_model_figures_by_use")]

    def __str__(self) -> str:
        return f"{self.model}: {self.calls} calls"

    @property
    def uptime(self) -> float | None:
        """The share of placed calls that did not fail by a worker's fault; None without any."""
        return 1 - self.faults / self.placed if self.placed else None


class Detachment(models.Model):
    """Calls from before ``before`` were taken out of ``usage_event``; their rollups stay."""

    before = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "usage_detachment"

    def __str__(self) -> str:
        return f"calls before {self.before:%Y-%m}"
