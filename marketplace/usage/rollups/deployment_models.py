"""Sums over all customers' calls by deployment and by model, kept for public pages by a job."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _


class DeploymentRollup(models.Model):
    """Sums over the calls to one deployment in an hour or day (UTC), over all customers.

    ``deployment_id`` is 0 for calls that no worker got. ``placed`` calls reached a worker;
    ``faults`` are those that the worker failed. Latencies and ``tokens_answered`` are of
    ``completed`` calls. Written by ``usage_deployment_rollup_refresh``, see
    ``sql/deployments.sql``.
    """

    pk = models.CompositePrimaryKey("model", "span", "starts_at", "deployment_id")
    model = models.TextField()
    span = models.TextField()
    starts_at = models.DateTimeField()
    deployment_id = models.BigIntegerField()
    calls = models.BigIntegerField()
    placed = models.BigIntegerField()
    faults = models.BigIntegerField()
    completed = models.BigIntegerField()
    tokens_in = models.BigIntegerField()
    tokens_out = models.BigIntegerField()
    tokens_answered = models.BigIntegerField()
    rows = models.BigIntegerField()
    images = models.BigIntegerField()
    queue_ms = models.FloatField()
    ttft_ms = models.FloatField()
    total_ms = models.FloatField()
    ttft_cells = ArrayField(models.BigIntegerField())
    total_cells = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "usage_deployment_rollup"
        indexes = [models.Index(fields=["span", "starts_at"], name="usage_deployment_by_time")]

    def __str__(self) -> str:
        return f"deployment {self.deployment_id}, {self.span} of {self.starts_at:%Y-%m-%d %H:%M}"


class RankingWindow(models.TextChoices):
    DAY = "24h", _("Last 24 hours")
    WEEK = "7d", _("Last 7 days")
    MONTH = "30d", _("Last 30 days")


class ModelRanking(models.Model):
    """Sums over a model's calls in a window up to ``computed_at``, over all customers.

    Percentiles in ms of ``completed`` calls; ``tokens_per_s`` is of one call, without its queue.
    """

    pk = models.CompositePrimaryKey("window", "model")
    window = models.TextField(choices=RankingWindow.choices)
    model = models.TextField()
    calls = models.BigIntegerField()
    completed = models.BigIntegerField()
    tokens = models.BigIntegerField()
    ttft_ms_p50 = models.FloatField(null=True)
    total_ms_p50 = models.FloatField(null=True)
    tokens_per_s = models.FloatField(null=True)
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "usage_model_ranking"

    def __str__(self) -> str:
        return f"{self.model}, {self.window}: {self.calls} calls"


class ModelHistory(models.Model):
    """Sums over a model's calls in the part of a window that is over: from ``starts_at`` to
    ``until``.

    Only calls that settle late change it, so rankings read it instead of each deployment's hours
    and days. Fields and cells as in :class:`DeploymentRollup`; ``busy_ms`` is without the queue.
    """

    pk = models.CompositePrimaryKey("window", "model")
    window = models.TextField(choices=RankingWindow.choices)
    model = models.TextField()
    starts_at = models.DateTimeField()
    until = models.DateTimeField()
    calls = models.BigIntegerField()
    completed = models.BigIntegerField()
    tokens = models.BigIntegerField()
    tokens_answered = models.BigIntegerField()
    busy_ms = models.FloatField()
    ttft_cells = ArrayField(models.BigIntegerField())
    total_cells = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "usage_model_history"

    def __str__(self) -> str:
        return f"{self.model}, {self.window} until {self.until:%Y-%m-%d %H:%M}"
