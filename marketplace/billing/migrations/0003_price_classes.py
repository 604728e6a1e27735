from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0002_places"),
        ("usage", "0003_price_class"),
    ]

    operations = [
        migrations.RunSQL((SQL / "0003_price_classes.sql").read_text()),
    ]
