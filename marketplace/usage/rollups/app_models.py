"""Sums over the calls of applications, as they name themselves, and the ranking of them."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from marketplace.usage.rollups.deployment_models import RankingWindow


class AppRollup(models.Model):
    """Sums over the completed calls that an organisation made as one application.

    Of an hour or a day (UTC). ``title`` is the last one given. Written by ``usage_app_rollup_add``.
    """

    pk = models.CompositePrimaryKey("organisation_id", "span", "starts_at", "app")
    organisation_id = models.BigIntegerField()
    span = models.TextField()
    starts_at = models.DateTimeField()
    app = models.TextField()
    title = models.TextField()
    calls = models.BigIntegerField()
    tokens = models.BigIntegerField()

    class Meta:
        db_table = "usage_app_rollup"
        indexes = [BrinIndex(fields=["starts_at"], name="usage_app_by_time", pages_per_range=16)]

    def __str__(self) -> str:
        return f"{self.app}, {self.span} of {self.starts_at:%Y-%m-%d %H:%M}"


class AppRanking(models.Model):
    """Sums over an application's calls in a window up to ``computed_at``.

    Over the organisations that let theirs be listed; ``title`` is the one that most calls
    gave.
    """

    pk = models.CompositePrimaryKey("window", "app")
    window = models.TextField(choices=RankingWindow.choices)
    app = models.TextField()
    title = models.TextField()
    calls = models.BigIntegerField()
    tokens = models.BigIntegerField()
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "usage_app_ranking"

    def __str__(self) -> str:
        return f"{self.app}, {self.window}: {self.calls} calls"
