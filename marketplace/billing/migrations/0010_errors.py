from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_guarded"),
        ("usage", "0010_errors"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0010_errors.sql").read_text()),
    ]
