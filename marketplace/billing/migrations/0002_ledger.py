"""Install the ledger: the functions that are money's only writers, and the guards around them."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"

DROP = """
DROP FUNCTION billing_settle(jsonb), billing_settle_record(jsonb), billing_settle_check(jsonb),
  billing_transfer_post(bigint, bigint, bigint, text, text),
  billing_lease_close_all(text), billing_lease_close(uuid),
  billing_lease_extend(uuid, integer), billing_lease_take(text, bigint, bigint, bigint, integer);
DROP FUNCTION billing_guard_account(), billing_guard_writer(), billing_refuse() CASCADE;
DROP FUNCTION billing_ledger_is_open();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0001_initial"),
        ("usage", "0001_initial"),
        ("accounts", "0001_initial"),
    ]
    operations = [
        migrations.RunSQL(
            "\n".join(
                (SQL / f"{name}.sql").read_text()
                for name in ("guards", "leases", "transfers", "settle")
            ),
            DROP,
        )
    ]
