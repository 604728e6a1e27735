"""A new budget knows what was spent in its window before it was made."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_rights"), ("usage", "0008_first_byte_of_streams")]
    operations = [
        migrations.AddField(
            model_name="budget",
            name="before_nano",
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.RunSQL(
            (SQL / "budget_begin.sql").read_text(),
            "DROP FUNCTION billing_budget_begin(bigint)",
        ),
    ]
