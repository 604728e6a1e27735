"""Tell credit that a router which is gone holds from credit that is spent."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_settle_policy")]
    operations = [
        migrations.RunSQL(
            (SQL / "stranded.sql").read_text(),
            "DROP FUNCTION billing_lease_stranded(bigint, bigint, text)",
        )
    ]
