"""Rollups of an organisation by model alone, written with the others and filled out of them."""

from pathlib import Path

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"
EARLIER = (SQL / "rollups.sql").read_text().partition("CREATE FUNCTION usage_rollup_add")
"""What comes after it are the functions that this migration replaces."""
BACK = f"""
{"".join(EARLIER[1:]).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")}
DROP AGGREGATE usage_cells_join(bigint[]);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0006_catalog_deployments"),
    ]

    operations = [
        migrations.CreateModel(
            name="OrganisationRollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organisation_id",
                        "span",
                        "starts_at",
                        "model",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organisation_id", models.BigIntegerField()),
                ("span", models.TextField()),
                ("starts_at", models.DateTimeField()),
                ("model", models.TextField()),
                ("calls", models.BigIntegerField()),
                ("failed", models.BigIntegerField()),
                ("charge_nano", models.BigIntegerField()),
                ("tokens_in", models.BigIntegerField()),
                ("tokens_out", models.BigIntegerField()),
                (
                    "ttft_cells",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                (
                    "total_cells",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
            ],
            options={
                "db_table": "usage_organisation_rollup",
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        fields=["starts_at"],
                        name="usage_organisation_by_time",
                        pages_per_range=16,
                    )
                ],
            },
        ),
        migrations.RunSQL((SQL / "organisation_rollups.sql").read_text(), BACK),
    ]
