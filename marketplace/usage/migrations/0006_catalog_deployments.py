"""Sums by deployment over all customers, rankings, and how often workers failed calls."""

from pathlib import Path

import django.contrib.postgres.fields
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"
DROP = """
DROP FUNCTION usage_deployment_rollup_refresh(timestamptz, timestamptz);
DROP AGGREGATE usage_cells_sum(bigint[]);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0005_policy_of_a_call"),
    ]

    operations = [
        migrations.CreateModel(
            name="ModelRanking",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "window",
                        "model",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "window",
                    models.TextField(
                        choices=[
                            ("24h", "Last 24 hours"),
                            ("7d", "Last 7 days"),
                            ("30d", "Last 30 days"),
                        ]
                    ),
                ),
                ("model", models.TextField()),
                ("calls", models.BigIntegerField()),
                ("completed", models.BigIntegerField()),
                ("tokens", models.BigIntegerField()),
                ("ttft_ms_p50", models.FloatField(null=True)),
                ("total_ms_p50", models.FloatField(null=True)),
                ("tokens_per_s", models.FloatField(null=True)),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "usage_model_ranking",
            },
        ),
        migrations.AddField(
            model_name="modelfigures",
            name="faults",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="modelfigures",
            name="placed",
            field=models.BigIntegerField(default=0),
        ),
        migrations.CreateModel(
            name="DeploymentRollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "model",
                        "span",
                        "starts_at",
                        "deployment_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("model", models.TextField()),
                ("span", models.TextField()),
                ("starts_at", models.DateTimeField()),
                ("deployment_id", models.BigIntegerField()),
                ("calls", models.BigIntegerField()),
                ("placed", models.BigIntegerField()),
                ("faults", models.BigIntegerField()),
                ("completed", models.BigIntegerField()),
                ("tokens_in", models.BigIntegerField()),
                ("tokens_out", models.BigIntegerField()),
                ("tokens_answered", models.BigIntegerField()),
                ("rows", models.BigIntegerField()),
                ("images", models.BigIntegerField()),
                ("queue_ms", models.FloatField()),
                ("ttft_ms", models.FloatField()),
                ("total_ms", models.FloatField()),
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
                "db_table": "usage_deployment_rollup",
                "indexes": [
                    models.Index(fields=["span", "starts_at"], name="usage_deployment_by_time")
                ],
            },
        ),
        migrations.RunSQL((SQL / "deployments.sql").read_text(), DROP),
    ]
