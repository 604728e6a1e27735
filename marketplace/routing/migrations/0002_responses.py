from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("routing", "0001_baseline"),
        ("accounts", "0002_keeps_responses"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0002_responses.sql").read_text()),
    ]
