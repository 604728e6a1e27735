"""Daily sums of calls by caller and model, written with the calls, for an organisation's pages."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models


class CallerRollup(models.Model):
    """Sums over one key's or member's calls of one model in a day (UTC).

    It adds up the rows of ``UsageRollup`` over deployments and outcomes, so that pages read one row
    instead of a dozen. ``failed`` calls did not complete; the cells (see ``sql/rollups.sql``) are
    of completed ones. Written by ``usage_caller_rollup_add``.
    """

    pk = models.CompositePrimaryKey("organisation_id", "starts_at", "key_id", "user_id", "model")
    organisation_id = models.BigIntegerField()
    starts_at = models.DateTimeField()
    key_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    model = models.TextField()
    calls = models.BigIntegerField()
    failed = models.BigIntegerField()
    charge_nano = models.BigIntegerField()
    tokens_in = models.BigIntegerField()
    tokens_out = models.BigIntegerField()
    ttft_cells = ArrayField(models.BigIntegerField())
    total_cells = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "usage_caller_rollup"
        indexes = [
            # Used to rebuild a few days.
            BrinIndex(fields=["starts_at"], name="usage_caller_by_time", pages_per_range=16),
        ]

    def __str__(self) -> str:
        return f"{self.model}, day of {self.starts_at:%Y-%m-%d}"
