from pathlib import Path

import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Look",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("staff", models.TextField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("search", "Searched"),
                            ("organisation", "Organisation"),
                            ("person", "Person"),
                            ("call", "Call"),
                        ],
                        max_length=12,
                    ),
                ),
                ("subject", models.TextField()),
                ("organisation", models.TextField(blank=True)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["organisation", "-id"], name="support_look_by_customer")
                ],
            },
        ),
        migrations.RunSQL((SQL / "0001_baseline.sql").read_text()),
    ]
