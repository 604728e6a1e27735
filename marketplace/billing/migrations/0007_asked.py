from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0006_apps"),
        ("usage", "0007_asked"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0007_asked.sql").read_text()),
    ]
