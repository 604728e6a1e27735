from pathlib import Path

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0004_seals"),
    ]

    operations = [
        migrations.RunSQL((Path(__file__).parent / "sql" / "0005_own_endpoints.sql").read_text()),
    ]
