from pathlib import Path

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    initial = True

    dependencies = []

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
        migrations.CreateModel(
            name="Refusal",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organisation_id",
                        "starts_at",
                        "key_id",
                        "user_id",
                        "model",
                        "code",
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
                ("code", models.TextField()),
                ("calls", models.BigIntegerField()),
            ],
            options={
                "db_table": "usage_refusal",
                "indexes": [models.Index(fields=["starts_at"], name="usage_refusal_by_time")],
            },
        ),
        migrations.CreateModel(
            name="UsageEvent",
            fields=[
                ("request_id", models.UUIDField(primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField()),
                (
                    "settled_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("router_id", models.TextField()),
                ("lease_id", models.UUIDField(null=True)),
                ("account_id", models.BigIntegerField()),
                ("organisation_id", models.BigIntegerField()),
                ("key_id", models.BigIntegerField()),
                ("user_id", models.BigIntegerField()),
                ("policy_id", models.BigIntegerField(db_default=0, default=0)),
                ("model", models.TextField()),
                ("kind", models.TextField()),
                ("outcome", models.TextField()),
                ("http_status", models.IntegerField()),
                ("streamed", models.BooleanField()),
                ("finish_reason", models.TextField()),
                ("deployment_id", models.BigIntegerField()),
                ("price_id", models.BigIntegerField()),
                ("provider_account_id", models.BigIntegerField()),
                ("worker_id", models.TextField()),
                ("pool", models.TextField()),
                ("hold_nano", models.BigIntegerField()),
                ("charge_nano", models.BigIntegerField()),
                ("commission_nano", models.BigIntegerField()),
                ("prompt_tokens", models.BigIntegerField()),
                ("cached_tokens", models.BigIntegerField()),
                ("completion_tokens", models.BigIntegerField()),
                ("reasoning_tokens", models.BigIntegerField()),
                ("rows", models.BigIntegerField()),
                ("images", models.BigIntegerField()),
                ("hardware_ms", models.BigIntegerField(db_default=0, default=0)),
                ("queue_ms", models.FloatField()),
                ("ttft_ms", models.FloatField()),
                ("upstream_ms", models.FloatField()),
                ("total_ms", models.FloatField()),
                ("attempts", models.JSONField()),
                ("candidates", models.JSONField()),
            ],
            options={
                "db_table": "usage_event",
                "ordering": ["-request_id"],
                "indexes": [
                    models.Index(
                        fields=["organisation_id", "-request_id"], name="usage_by_organisation"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("cached_tokens__gte", 0),
                            ("charge_nano__gte", models.F("commission_nano")),
                            ("commission_nano__gte", 0),
                            ("completion_tokens__gte", 0),
                            ("hardware_ms__gte", 0),
                            ("hold_nano__gte", models.F("charge_nano")),
                            ("images__gte", 0),
                            ("prompt_tokens__gte", 0),
                            ("reasoning_tokens__gte", 0),
                            ("rows__gte", 0),
                        ),
                        name="usage_event_adds_up",
                    )
                ],
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
        migrations.CreateModel(
            name="ModelFigures",
            fields=[
                ("model", models.TextField(primary_key=True, serialize=False)),
                ("calls", models.BigIntegerField()),
                ("ttft_ms_p50", models.FloatField()),
                ("total_ms_p50", models.FloatField()),
                ("total_ms_p99", models.FloatField()),
                ("tokens_per_s", models.FloatField(null=True)),
                ("placed", models.BigIntegerField(default=0)),
                ("faults", models.BigIntegerField(default=0)),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "usage_model_figures",
                "indexes": [models.Index(fields=["-calls"], name="usage_model_figures_by_use")],
            },
        ),
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
        migrations.RunSQL((SQL / "0001_tables.sql").read_text()),
        migrations.RunSQL((SQL / "0001_baseline.sql").read_text()),
    ]
