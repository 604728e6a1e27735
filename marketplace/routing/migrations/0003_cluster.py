"""Membership of routers and their leases on slots."""

from pathlib import Path

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("routing", "0002_notify")]
    operations = [
        migrations.RunSQL(
            (Path(__file__).parent / "sql" / "cluster.sql").read_text(),
            "DROP FUNCTION routing_leave(text);"
            "DROP FUNCTION routing_beat(text, text, double precision, jsonb, jsonb);"
            "DROP TABLE routing_slot_lease; DROP TABLE routing_router;",
        )
    ]
