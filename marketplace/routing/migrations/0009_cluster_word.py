"""What routers tell each other of engines."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
_EARLIER = (SQL / "cluster.sql").read_text()
BEAT = _EARLIER[_EARLIER.index("CREATE FUNCTION routing_beat") :].split(
    "CREATE FUNCTION routing_leave"
)[0]


class Migration(migrations.Migration):
    dependencies = [("routing", "0008_admin_drain_events")]
    operations = [
        migrations.RunSQL(
            (SQL / "cluster_word.sql").read_text(),
            "DROP FUNCTION routing_beat(text, text, double precision, jsonb, jsonb, jsonb);"
            "ALTER TABLE routing_router DROP COLUMN word;" + BEAT,
        )
    ]
