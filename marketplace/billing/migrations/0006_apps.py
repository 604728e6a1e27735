from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0005_own_endpoints"),
        ("usage", "0006_apps"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0006_apps.sql").read_text()),
    ]
