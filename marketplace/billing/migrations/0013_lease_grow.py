"""Let a lease grow while a stream that holds from it runs."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_credit_requests")]
    operations = [
        migrations.RunSQL(
            (SQL / "lease_grow.sql").read_text(),
            "DROP FUNCTION billing_lease_grow(uuid, bigint, bigint)",
        )
    ]
