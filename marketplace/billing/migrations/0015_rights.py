"""The ledger's writers run as its owner, so that the services need no right to write it."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_causes"), ("usage", "0008_first_byte_of_streams")]
    operations = [
        migrations.RunSQL(
            (SQL / "rights.sql").read_text(), (SQL / "rights_reverse.sql").read_text()
        )
    ]
