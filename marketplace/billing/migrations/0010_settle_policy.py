"""Settle the policy version of a call with it."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0009_write_offs"), ("usage", "0005_policy_of_a_call")]
    operations = [
        migrations.RunSQL((SQL / "settle_policy.sql").read_text(), migrations.RunSQL.noop)
    ]
