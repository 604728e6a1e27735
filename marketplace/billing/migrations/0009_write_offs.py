"""Routers written off, on record; budgets that change their limit or window."""

from pathlib import Path

import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0008_payments")]

    operations = [
        migrations.CreateModel(
            name="WriteOff",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("router_id", models.TextField()),
                ("reason", models.TextField()),
                ("by", models.CharField(max_length=150)),
                ("leases", models.PositiveIntegerField()),
                ("amount_nano", models.BigIntegerField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={"ordering": ["-id"]},
        ),
        migrations.RunSQL(
            (SQL / "write_off_guards.sql").read_text() + (SQL / "budget_change.sql").read_text(),
            "DROP FUNCTION billing_budget_change(bigint, bigint, text)",
        ),
    ]
