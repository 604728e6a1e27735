"""Answers that are kept for calls with an Idempotency-Key."""

from pathlib import Path

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("routing", "0004_policy_weights")]
    operations = [
        migrations.RunSQL(
            (Path(__file__).parent / "sql" / "idempotency.sql").read_text(),
            "DROP FUNCTION routing_idempotency_purge();"
            "DROP FUNCTION routing_idempotency_claim(text, text, text, double precision);"
            "DROP TABLE routing_idempotency;",
        )
    ]
