"""Rollups of usage events, what models took lately, and what was detached."""

from pathlib import Path

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"

DROP = """
DROP FUNCTION usage_rollup_rebuild(timestamptz, timestamptz), usage_rollup_add(usage_call[]),
  usage_cells_add(bigint[], bigint[]), usage_cells_fold(bigint[]), usage_bucket(float8),
  usage_call_of(usage_event);
DROP TYPE usage_call;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0003_partitions"),
    ]

    operations = [
        migrations.CreateModel(
            name="Detachment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("before", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "usage_detachment",
            },
        ),
        migrations.CreateModel(
            name="ModelFigures",
            fields=[
                ("model", models.TextField(primary_key=True, serialize=False)),
                ("calls", models.BigIntegerField()),
                ("ttft_ms_p50", models.FloatField()),
                ("total_ms_p50", models.FloatField()),
                ("total_ms_p99", models.FloatField()),
                ("tokens_per_s", models.FloatField(null=True)),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "usage_model_figures",
                "indexes": [models.Index(fields=["-calls"], name="usage_model_figures_by_use")],
            },
        ),
        migrations.CreateModel(
            name="UsageRollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organisation_id",
                        "span",
                        "starts_at",
                        "key_id",
                        "user_id",
                        "model",
                        "deployment_id",
                        "outcome",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organisation_id", models.BigIntegerField()),
                ("span", models.TextField(choices=[("hour", "Hour"), ("day", "Day")])),
                ("starts_at", models.DateTimeField()),
                ("key_id", models.BigIntegerField()),
                ("user_id", models.BigIntegerField()),
                ("model", models.TextField()),
                ("deployment_id", models.BigIntegerField()),
                ("outcome", models.TextField()),
                ("calls", models.BigIntegerField()),
                ("charge_nano", models.BigIntegerField()),
                ("commission_nano", models.BigIntegerField()),
                ("prompt_tokens", models.BigIntegerField()),
                ("cached_tokens", models.BigIntegerField()),
                ("completion_tokens", models.BigIntegerField()),
                ("reasoning_tokens", models.BigIntegerField()),
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
                "db_table": "usage_rollup",
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        fields=["starts_at"], name="usage_rollup_by_time", pages_per_range=16
                    )
                ],
            },
        ),
        migrations.RunSQL((SQL / "rollups.sql").read_text(), DROP),
        migrations.RunSQL((SQL / "spans.sql").read_text(), migrations.RunSQL.noop),
    ]
