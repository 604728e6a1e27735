"""What an organisation's calls came to, whoever made them: written with the calls, for its pages."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models


class OrganisationRollup(models.Model):
    """Sums over one organisation's calls of one model in an hour or day (UTC).

    Those of the ``UsageRollup`` of all keys, people, deployments and endings together, as far as
    figures show them: few rows a day, however many keys and endings there were. ``failed`` calls
    did not complete; the cells are of those that did, as in ``sql/rollups.sql``.
    """

    pk = models.CompositePrimaryKey("organisation_id", "span", "starts_at", "model")
    organisation_id = models.BigIntegerField()
    span = models.TextField()
    starts_at = models.DateTimeField()
    model = models.TextField()
    calls = models.BigIntegerField()
    failed = models.BigIntegerField()
    charge_nano = models.BigIntegerField()
    tokens_in = models.BigIntegerField()
    tokens_out = models.BigIntegerField()
    ttft_cells = ArrayField(models.BigIntegerField())
    total_cells = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "usage_organisation_rollup"
        indexes = [
            # To make some days anew.
            BrinIndex(fields=["starts_at"], name="usage_organisation_by_time", pages_per_range=16),
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.span} of {self.starts_at:%Y-%m-%d %H:%M}"
