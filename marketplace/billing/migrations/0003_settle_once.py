"""Settle with each record read once, write rollups with it, and roll up what was settled before."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"

DROP_EARLIER = """
DROP FUNCTION billing_settle(jsonb), billing_settle_record(jsonb), billing_settle_check(jsonb);
"""
ROLL_UP = """
SELECT usage_rollup_rebuild(min(created_at), max(created_at) + interval '1 second')
FROM usage_event HAVING count(*) > 0;
"""
DROP = """
DROP FUNCTION billing_settle(jsonb), billing_settle_keys(usage_call[]),
  billing_settle_balance(usage_call[], bigint), billing_settle_transfer(usage_call[], bigint),
  billing_settle_check(usage_call[]), billing_settle_lock(usage_call[], bigint),
  billing_settle_record(jsonb);
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_ledger"), ("usage", "0004_rollups")]
    operations = [
        migrations.RunSQL(
            DROP_EARLIER + (SQL / "settle_once.sql").read_text() + ROLL_UP,
            DROP + (SQL / "settle.sql").read_text(),
        )
    ]
