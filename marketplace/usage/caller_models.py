"""What calls came to by who called what: written with the calls, for an organisation's pages."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models


class CallerRollup(models.Model):
    """Sums over one key's or member's calls of one model in a day (UTC).

    Those of the ``UsageRollup`` of all deployments and endings together, as far as figures show
    them: one row where there are a dozen. ``failed`` calls did not complete; the cells, as in
    ``sql/rollups.sql``, are of those that did. Made by ``usage_caller_rollup_add``.
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
            # To make some days anew.
            BrinIndex(fields=["starts_at"], name="usage_caller_by_time", pages_per_range=16),
        ]

    def __str__(self) -> str:
        return f"{self.model}, day of {self.starts_at:%Y-%m-%d}"
