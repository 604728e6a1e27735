import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0004_own_models"),
    ]

    operations = [
        migrations.CreateModel(
            name="ModelHistory",
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
                ("starts_at", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("calls", models.BigIntegerField()),
                ("completed", models.BigIntegerField()),
                ("tokens", models.BigIntegerField()),
                ("tokens_answered", models.BigIntegerField()),
                ("busy_ms", models.FloatField()),
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
                "db_table": "usage_model_history",
            },
        ),
    ]
