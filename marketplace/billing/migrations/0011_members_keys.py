from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0010_errors"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0011_members_keys.sql").read_text()),
    ]
