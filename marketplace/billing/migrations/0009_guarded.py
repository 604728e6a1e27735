from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_masked"),
        ("usage", "0009_guarded"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0009_guarded.sql").read_text()),
    ]
