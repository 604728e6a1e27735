"""Rollups of days by who called what, written with the others and filled out of them."""

from pathlib import Path

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"
REBUILD = "CREATE FUNCTION usage_rollup_rebuild"
BACK = f"""
DROP FUNCTION usage_rollup_add(usage_call[]), usage_caller_rollup_add(usage_call[]);
ALTER FUNCTION usage_rollup_add_apart(usage_call[]) RENAME TO usage_rollup_add;
CREATE OR REPLACE FUNCTION usage_rollup_rebuild
{(SQL / "rollups.sql").read_text().partition(REBUILD)[2]}
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0006_catalog_deployments"),
    ]

    operations = [
        migrations.CreateModel(
            name="CallerRollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organisation_id",
                        "starts_at",
                        "key_id",
                        "user_id",
                        "model",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organisation_id", models.BigIntegerField()),
                ("starts_at", models.DateTimeField()),
                ("key_id", models.BigIntegerField()),
                ("user_id", models.BigIntegerField()),
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
                "db_table": "usage_caller_rollup",
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        fields=["starts_at"], name="usage_caller_by_time", pages_per_range=16
                    )
                ],
            },
        ),
        migrations.RunSQL((SQL / "callers.sql").read_text(), BACK),
    ]
