from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_baseline")]

    operations = [migrations.RunSQL((SQL / "0002_append_only.sql").read_text())]
