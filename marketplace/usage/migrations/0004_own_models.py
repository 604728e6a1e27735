from pathlib import Path

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0003_price_class"),
    ]

    operations = [
        migrations.RunSQL((Path(__file__).parent / "sql" / "0004_own_models.sql").read_text()),
    ]
