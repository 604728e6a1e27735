from pathlib import Path

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0010_errors"),
        ("accounts", "0001_baseline"),
    ]

    operations = [
        migrations.RunSQL((Path(__file__).parent / "sql" / "0011_customers_calls.sql").read_text()),
    ]
