"""Counts of calls that were refused before they ran."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("usage", "0008_first_byte_of_streams")]
    operations = [
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
        migrations.RunSQL(
            (SQL / "refusals.sql").read_text(), "DROP FUNCTION usage_refusals_add(jsonb)"
        ),
    ]
