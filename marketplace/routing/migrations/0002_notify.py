"""Tell routers of a new snapshot when it is committed."""

from pathlib import Path

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("routing", "0001_initial")]
    operations = [
        migrations.RunSQL(
            (Path(__file__).parent / "sql" / "notify.sql").read_text(),
            "DROP FUNCTION routing_snapshot_notify() CASCADE;",
        )
    ]
