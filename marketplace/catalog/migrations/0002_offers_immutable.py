"""Refuse changes to a published price in the database itself."""

from pathlib import Path

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [
        migrations.RunSQL(
            (Path(__file__).parent / "sql" / "offers.sql").read_text(),
            "DROP FUNCTION catalog_refuse_offer_change() CASCADE;",
        )
    ]
