"""Guard transfers by the statement, and keep only the indexes that are read."""

from pathlib import Path

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models
from django.db.models.functions import Now

SQL = Path(__file__).parent / "sql"

BACK = """
DROP FUNCTION billing_guard_history(), billing_guard_parties() CASCADE;
DROP TRIGGER billing_transfer_writer ON billing_transfer;
CREATE TRIGGER billing_transfer_writer BEFORE INSERT ON billing_transfer
  FOR EACH ROW EXECUTE FUNCTION billing_guard_writer();
"""


def _account(related_name: str) -> models.ForeignKey:
    return models.ForeignKey(
        "billing.account", models.PROTECT, related_name=related_name, db_constraint=False
    )


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_settle_once")]
    operations = [
        migrations.AlterField("transfer", "created_at", models.DateTimeField(db_default=Now())),
        migrations.AddIndex(
            "transfer", BrinIndex(fields=["created_at"], name="billing_transfer_by_time")
        ),
        migrations.AlterField("transfer", "debit", _account("debits")),
        migrations.AlterField("transfer", "credit", _account("credits")),
        migrations.AlterField("transfer", "idem_key", models.TextField()),
        migrations.AddConstraint(
            "transfer",
            models.UniqueConstraint(fields=["idem_key"], name="billing_transfer_once"),
        ),
        migrations.RunSQL((SQL / "transfer_guards.sql").read_text(), BACK),
    ]
