from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0001_baseline"),
        ("usage", "0002_places"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0002_places.sql").read_text()),
    ]
