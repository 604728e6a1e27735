from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0007_asked"),
        ("usage", "0008_masked"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0008_masked.sql").read_text()),
    ]
