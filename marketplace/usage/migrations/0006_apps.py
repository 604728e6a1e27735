from pathlib import Path

import django.contrib.postgres.indexes
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"
WINDOWS = [("24h", "Last 24 hours"), ("7d", "Last 7 days"), ("30d", "Last 30 days")]


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0005_model_history"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="app",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="usageevent",
            name="app_title",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.CreateModel(
            name="AppRollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organisation_id",
                        "span",
                        "starts_at",
                        "app",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organisation_id", models.BigIntegerField()),
                ("span", models.TextField()),
                ("starts_at", models.DateTimeField()),
                ("app", models.TextField()),
                ("title", models.TextField()),
                ("calls", models.BigIntegerField()),
                ("tokens", models.BigIntegerField()),
            ],
            options={
                "db_table": "usage_app_rollup",
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        fields=["starts_at"], name="usage_app_by_time", pages_per_range=16
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AppRanking",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "window",
                        "app",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("window", models.TextField(choices=WINDOWS)),
                ("app", models.TextField()),
                ("title", models.TextField()),
                ("calls", models.BigIntegerField()),
                ("tokens", models.BigIntegerField()),
                ("computed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "usage_app_ranking",
            },
        ),
        migrations.RunSQL((SQL / "0006_apps.sql").read_text()),
    ]
